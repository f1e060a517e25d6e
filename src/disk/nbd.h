/* nbd.h - exports of NBD servers that are written to. What h2k_nbd_open() opens is never written:
 * only files that h2k_nbd_open_output() returns may be given to the functions below.
 *
 * A server that is away is waited for, as when reading: what was not acknowledged is sent again,
 * which does no harm.
 *
 * Thread-safety: everything may be called by any number of threads at once, for ranges that do not
 * overlap.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "disk/file.h"

/* Whether URI names an NBD export. */
gboolean h2k_nbd_is_uri (const char *uri);
/* Whether two URIs name one export, as far as they tell. */
gboolean h2k_nbd_same_export (const char *a, const char *b);

/* Connect to an export that can be written. Errors: H2K_ERROR_OUTPUT, _UNSUPPORTED. */
H2kFile *h2k_nbd_open_output (const char *uri, GError **error);

/* The bytes that can be written: what follows the last whole block of the server cannot. */
guint64 h2k_nbd_room (H2kFile *file);
/* Write a range, which lies inside the export; DATA NULL: zeros, which are not sent where the
 * server says that there are some already. No two ranges may overlap. Errors: H2K_ERROR_OUTPUT,
 * _NO_SPACE, _CANCELLED. */
gboolean h2k_nbd_write (H2kFile *file, guint64 offset, guint64 length, const guint8 *data,
                        GError **error);
/* Everything written is on stable storage, as far as the server can do that. Errors as above. */
gboolean h2k_nbd_flush (H2kFile *file, GError **error);
/* Whether a connection broke. A server that crashed may have lost what it had not flushed yet. */
gboolean h2k_nbd_was_lost (H2kFile *file);

/* The export for reading, with nothing of it known yet, over FILE's connections: the server may
 * allow no others. FILE must not be in use. */
H2kFile *h2k_nbd_reopen (H2kFile *file);
