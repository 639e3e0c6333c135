"""What judges see of videos: features of I3D, with published or random weights."""
