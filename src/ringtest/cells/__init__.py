"""What an audit keeps of itself: a file a cell, and the key under which it is found again."""
