"""File formats of frames: what a header promises, and whether the file is all there, before anything is allocated.

Decoders answer half a file with half a picture, some in silence, and allocate what a header asks for. So each module
here first reads the size from the header alone (`read_header`), then walks the file's structure to its end
(`check_complete`); only then is it decoded.
"""
