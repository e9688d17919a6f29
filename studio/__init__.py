"""How people and programs look at Benchlake and speak to it: the command line, generated docs."""
