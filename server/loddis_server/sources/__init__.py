"""Cameras and video files: who may be read, who reads them, and what comes of it.

FFmpeg's decoders are a million lines that parse what strangers send, so they run in child processes, one a source.
The parent decides what may be read, opens it, and hands the child no more than the open file or connection, whose other
end is all that the child connects to. Frames come back through a socket; a child that crashes or hangs is replaced.

    allow_list      what may be read at all
    opening         settings -> an open file, device name or connected socket
    child           the process that decodes: media, pixels, relay, multipart
    wire            what parent and child tell each other
    process         one child, seen from the parent
    supervisor      child after child, until the source is over
    source          the same for asyncio: `Source`
    uploads         a video that arrives in pieces: `VideoDecoder`

This module imports none of them: the child must start at once, so it loads only what it needs.
"""
