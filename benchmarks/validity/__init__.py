"""Does the verdict tell the truth? The audit, audited: run ``make validity``."""
