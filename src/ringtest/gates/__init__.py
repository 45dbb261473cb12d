"""What follows from a verdict: waivers, baselines, outcomes, and the file that asks for them."""
