"""Models to take away: a student as timm reads it, the teacher's map as others read it, each with a card."""
