"""What each unit or example contributed, with its interval."""
