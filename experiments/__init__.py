"""The commands, one file each: arguments, defaults and calls."""
