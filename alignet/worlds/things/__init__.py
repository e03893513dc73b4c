"""THINGS: photographs of concepts, and the choices of the people who saw them."""
