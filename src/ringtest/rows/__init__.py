"""Where rows come from: the forms in which data are given, and what is refused."""
