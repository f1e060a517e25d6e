/* cpio.h - cpio archives in the "newc" format, as the kernel unpacks them into its root.
 *
 * The format: Linux, Documentation/driver-api/early-userspace/buffer-format.rst. Both magics are
 * read (070701, and 070702 whose checksum the kernel ignores, too); 070701 is written.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#pragma once

#include "util/util.h"

typedef struct
{
  const char *name; /* "usr/lib/x": no leading "/", no empty, "." or ".." component */
  guint32 mode;     /* type and permissions as in struct stat */
  guint32 nlink;
  guint32 size; /* of the content */
} H2kCpioEntry;

/* A reader is fed with an archive's bytes in pieces of any size and reports each member. */
typedef struct
{
  /* A member's header was read: how many bytes of content are to be kept; a longer content is not
   * kept at all. The targets of symbolic links are always kept. */
  gsize (*keep) (const H2kCpioEntry *entry, gpointer data);
  /* The member is complete. CONTENT (NUL-terminated behind its end) is NULL when it was not kept.
   * FALSE with an error ends the reading. */
  gboolean (*member) (const H2kCpioEntry *entry, GBytes *content, gpointer data, GError **error);
} H2kCpioHandler;

typedef struct _H2kCpioReader H2kCpioReader;

H2kCpioReader *h2k_cpio_reader_new (const H2kCpioHandler *handler, gpointer data);
void h2k_cpio_reader_free (H2kCpioReader *reader);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kCpioReader, h2k_cpio_reader_free)

/* Read the next LENGTH bytes. Archives may follow each other, with zeros between them, as the
 * kernel allows: what follows an archive's trailer and is neither zero nor an archive is not
 * taken, and USED is then smaller than LENGTH. Members whose name would leave the root are passed
 * over. Errors: H2K_ERROR_FORMAT; the reader cannot be used after one. */
gboolean h2k_cpio_reader_feed (H2kCpioReader *reader, const guint8 *bytes, gsize length,
                               gsize *used, GError **error);

/* Whether no archive has begun that has not ended. */
gboolean h2k_cpio_reader_at_rest (const H2kCpioReader *reader);

/* How many of the next bytes the reader would only drop; skip: pretend that they were fed. */
guint64 h2k_cpio_reader_skippable (const H2kCpioReader *reader);
void h2k_cpio_reader_skip (H2kCpioReader *reader, guint64 length);

typedef struct _H2kCpioWriter H2kCpioWriter;

H2kCpioWriter *h2k_cpio_writer_new (void);
void h2k_cpio_writer_free (H2kCpioWriter *writer);
G_DEFINE_AUTOPTR_CLEANUP_FUNC (H2kCpioWriter, h2k_cpio_writer_free)

/* Add a member of root's, made at the epoch, so that the same content gives the same bytes. NAME
 * without a leading "/"; directories before what is in them. CONTENT: NULL for a directory, a
 * symbolic link's target. */
void h2k_cpio_writer_add (H2kCpioWriter *writer, const char *name, guint32 mode, GBytes *content);
/* The archive with its trailer, a multiple of 4 bytes long. The caller's. */
GBytes *h2k_cpio_writer_finish (H2kCpioWriter *writer);
