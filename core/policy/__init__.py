"""What must hold before a version is published: policies, and the verdict they give."""
