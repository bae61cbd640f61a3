"""Reading archives that nobody vouches for: zip, tar, tar.gz.

The readers are our own, a few dozen lines each, because the standard library's are built to extract anything and the
interpreters we run on carry known holes in them (endless loops, overlaps, links that leave the folder). These read
forwards, hold one member in memory, write nothing, count every byte they really produce, and refuse what a set of
images never needs.
"""

from models_store.archives.limits import ArchiveLimits
from models_store.archives.reading import File, Format, iterate_files, sniff
from models_store.archives.tars import iterate_tar
from models_store.archives.zips import ZipMember, ZipReader

__all__ = ["ArchiveLimits", "File", "Format", "ZipMember", "ZipReader", "iterate_files", "iterate_tar", "sniff"]
