"""Tables in, Figures out, a module for each notebook: nothing here loads, fits or scores."""
