"""Tables, folders and archives → Items."""
