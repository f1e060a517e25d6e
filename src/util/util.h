/* util.h - what GLib lacks: checked arithmetic, byte order, text lines, escaping, range sets.
 *
 * Nothing here knows about disks or guests. All functions are thread-safe on distinct objects.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#ifndef G_LOG_DOMAIN
#  define G_LOG_DOMAIN "hyper2kvm"
#endif

#include "hyper2kvm.h"

#include <gio/gio.h>
#include <string.h>

/* --- unaligned byte order accessors ----------------------------------------------------------- */

static inline guint16
h2k_le16 (const void *p)
{
  guint16 v;
  memcpy (&v, p, sizeof v);
  return GUINT16_FROM_LE (v);
}

static inline guint32
h2k_le32 (const void *p)
{
  guint32 v;
  memcpy (&v, p, sizeof v);
  return GUINT32_FROM_LE (v);
}

static inline guint64
h2k_le64 (const void *p)
{
  guint64 v;
  memcpy (&v, p, sizeof v);
  return GUINT64_FROM_LE (v);
}

static inline guint16
h2k_be16 (const void *p)
{
  guint16 v;
  memcpy (&v, p, sizeof v);
  return GUINT16_FROM_BE (v);
}

static inline guint32
h2k_be32 (const void *p)
{
  guint32 v;
  memcpy (&v, p, sizeof v);
  return GUINT32_FROM_BE (v);
}

static inline guint64
h2k_be64 (const void *p)
{
  guint64 v;
  memcpy (&v, p, sizeof v);
  return GUINT64_FROM_BE (v);
}

/* --- bytes ------------------------------------------------------------------------------------ */

/* Whether all LENGTH bytes are zero; fast enough to call on everything that is copied. */
gboolean h2k_is_zero (const void *data, gsize length);

/* CRC-32 (IEEE 802.3, as in GPT) and CRC-32C (Castagnoli, as in ext4 and jbd2), of DATA continued
 * from CRC. For h2k_crc32() start with 0; h2k_crc32c() is the raw register without the final
 * inversion, as the kernel's crc32c(): start with ~0. */
guint32 h2k_crc32 (guint32 crc, const void *data, gsize length);
guint32 h2k_crc32c (guint32 crc, const void *data, gsize length);

/* --- text ------------------------------------------------------------------------------------- */

/* TEXT (LENGTH bytes, or -1: NUL-terminated) with everything a terminal could act on made visible:
 * invalid UTF-8 and control characters except newline and tab become \xNN. The caller's. */
char *h2k_escape_text (const char *text, gssize length);
/* The same on one line: newlines and tabs, too. The caller's. */
char *h2k_escape_line (const char *text);

/* A unified diff (three lines of context) of two texts, with headers "--- a/PATH", "+++ b/PATH";
 * NULL stands for a file that does not exist. Where all lines of both end in CR and LF, a first
 * line says so, and the CRs are left out. Content that is not text gives one line with the sizes.
 * The caller's. */
char *h2k_text_diff (const char *path, GBytes *before, GBytes *after);

/* SIZE in binary units for people: "4.0 GiB". The caller's. */
char *h2k_format_size (guint64 size);

/* Lines of a text file that keep every byte which is not changed, line ends included. */
typedef struct _H2kLines H2kLines;

/* DATA is copied. */
H2kLines *h2k_lines_new (GBytes *data);
void h2k_lines_free (H2kLines *lines);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kLines, h2k_lines_free)
guint h2k_lines_count (const H2kLines *lines);
/* Line I without its line end; owned by LINES until the line is changed. */
const char *h2k_lines_get (const H2kLines *lines, guint i);
/* Replace line I; its line end stays. */
void h2k_lines_set (H2kLines *lines, guint i, const char *text);
/* Insert before line I (I = count: at the end), with the line end that the file uses. */
void h2k_lines_insert (H2kLines *lines, guint i, const char *text);
void h2k_lines_remove (H2kLines *lines, guint i);
/* The whole text. The caller's. */
GBytes *h2k_lines_to_bytes (const H2kLines *lines);

/* --- files ------------------------------------------------------------------------------------ */

/* A GError from errno value ERR with the prefix FORMAT: "prefix: strerror". ENOSPC and EDQUOT give
 * H2K_ERROR_NO_SPACE whatever CODE says. */
void h2k_set_errno (GError **error, H2kError code, int err, const char *format, ...)
    G_GNUC_PRINTF (4, 5);

/* Read or write exactly LENGTH bytes at OFFSET of FD, through EINTR and short transfers. Return 0
 * or an errno value; an early end of file is ENODATA. */
int h2k_pread_full (int fd, void *buffer, gsize length, guint64 offset);
int h2k_pwrite_full (int fd, const void *buffer, gsize length, guint64 offset);

/* SIZE zero bytes at *DATA, to be filled; wiped when they are freed. */
GBytes *h2k_secret_new (gsize size, guint8 **data);

/* TRUE and H2K_ERROR_CANCELLED set when CANCELLABLE (may be NULL) is cancelled. */
gboolean h2k_is_cancelled (GCancellable *cancellable, GError **error);

/* --- MAC addresses ---------------------------------------------------------------------------- */

/* TEXT as a lower-case MAC with colons, or NULL when it is none (also all-zero and multicast ones).
 * Accepts '-' as the separator. The caller's. */
char *h2k_mac_parse (const char *text);
/* A locally administered MAC in QEMU's range (52:54:00), the same each time for the same SEED and
 * INDEX. The caller's. */
char *h2k_mac_from_seed (const char *seed, guint index);
