"""The certificates that connections to receivers are checked with; what is wrong with a file is said with its name."""

from __future__ import annotations

import ssl
from pathlib import Path

from loddis_runtime.errors import ConfigError

__all__ = ["tls_context"]


def tls_context(
    receiver: str, *, ca_file: Path | None, certificate_file: Path | None = None, key_file: Path | None = None
) -> ssl.SSLContext:
    """Read certificates.

    Args:
        receiver: Its name, for errors.
        ca_file: Certificates (PEM) that vouch for the receiver; the system's if none.
        certificate_file: Certificate (PEM) by which the receiver knows this server.
        key_file: Key (PEM) of that certificate.

    Raises:
        ConfigError: A file cannot be read, or does not hold what it should.
    """
    given = {"ca_file": ca_file, "certificate_file": certificate_file, "key_file": key_file}
    for name, path in given.items():
        try:
            if path is not None:
                path.open("rb").close()  # OpenSSL does not say which file it cannot read
        except OSError as error:
            raise ConfigError(f"{name} of receiver {receiver}: {path}: {error.strerror}") from None
    name = "ca_file"
    try:
        context = ssl.create_default_context(cafile=ca_file)
        if certificate_file is not None:
            name = "certificate_file"
            context.load_cert_chain(certificate_file, key_file)
    except ssl.SSLError as error:
        reason = (error.reason or str(error)).replace("_", " ").lower()
        raise ConfigError(f"{name} of receiver {receiver}: {given[name]} cannot be used: {reason}") from None
    return context
