"""Figures of the page as inline SVG: text stays text and colours come from the page's style."""
