"""One module a format: the words of its page in the docs, as a `FormatGuide` called `GUIDE`."""
