"""Reports for those who must show what was deleted: as a page, as PDF, as CSV and as JSON, all from the same facts."""
