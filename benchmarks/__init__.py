"""What ringtest is measured by: its speed, and whether its verdicts are true."""
