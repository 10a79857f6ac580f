"""What finds the end of a message, and what is wrong with one: a walk, and a file for each way of writing."""
