"""What developers, tests and the demo use; nothing here is part of the node pack or the library."""
