"""What `rembuk` can be asked: a file for each command, which says what it asks and answers."""
