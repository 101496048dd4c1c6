"""Every option of the program, and the file that holds them."""
