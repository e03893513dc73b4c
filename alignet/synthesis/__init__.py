"""AligNet triplets: pictures that nobody judged, drawn by a scheme and labelled by the teacher."""
