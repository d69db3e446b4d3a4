"""One module per layout that SAEs are stored in; each turns files into `SaeSource`."""
