"""Export of models: a student in timm's format, and the teacher's map in gLocal's format, each with a model card."""
