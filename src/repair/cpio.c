/* cpio.c - reads newc archives as a stream and writes them.
 *
 * The format: Linux, Documentation/driver-api/early-userspace/buffer-format.rst. Header and name
 * together, and the content, are each padded to 4 bytes counted from the archive's first byte.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/cpio.h"

#include <sys/stat.h>

#define HEADER_SIZE 110
#define NAME_MAX_SIZE 4096 /* the kernel's PATH_MAX, with the NUL */
#define TRAILER "TRAILER!!!"

/* The header's fields, each 8 hexadecimal digits, behind the 6 bytes of the magic. */
enum
{
  FIELD_INO,
  FIELD_MODE,
  FIELD_UID,
  FIELD_GID,
  FIELD_NLINK,
  FIELD_MTIME,
  FIELD_FILESIZE,
  FIELD_DEVMAJOR,
  FIELD_DEVMINOR,
  FIELD_RDEVMAJOR,
  FIELD_RDEVMINOR,
  FIELD_NAMESIZE,
  FIELD_CHECK,
  N_FIELDS
};
G_STATIC_ASSERT (6 + 8 * N_FIELDS == HEADER_SIZE);

typedef enum
{
  STATE_REST,    /* between archives */
  STATE_HEADER,  /* collects a header */
  STATE_NAME,    /* collects a name */
  STATE_CONTENT, /* collects or drops content */
  STATE_PADDING, /* drops the bytes up to the next header */
} State;

struct _H2kCpioReader
{
  const H2kCpioHandler *handler;
  gpointer data;
  State state;
  guint64 offset;      /* of the next byte */
  guint64 todo;        /* bytes of this state that are still to come */
  gboolean last;       /* the member is the trailer */
  gboolean kept;       /* the content is kept, in CONTENT */
  GByteArray *header;  /* header and name */
  GByteArray *content; /* of the member */
  guint32 name_size;   /* with the NUL */
  H2kCpioEntry entry;
  char *name; /* the entry's, cleaned; NULL: the member is passed over */
};

H2kCpioReader *
h2k_cpio_reader_new (const H2kCpioHandler *handler, gpointer data)
{
  H2kCpioReader *reader = g_new0 (H2kCpioReader, 1);

  reader->handler = handler;
  reader->data = data;
  reader->header = g_byte_array_new ();
  reader->content = g_byte_array_new ();
  return reader;
}

void
h2k_cpio_reader_free (H2kCpioReader *reader)
{
  if (!reader)
    return;
  g_byte_array_unref (reader->header);
  g_byte_array_unref (reader->content);
  g_free (reader->name);
  g_free (reader);
}

static gboolean
bad (const H2kCpioReader *reader, GError **error, const char *what)
{
  g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
               "%s before byte %" G_GUINT64_FORMAT " of the cpio archive", what, reader->offset);
  return FALSE;
}

static gboolean
parse_field (const guint8 *header, guint field, guint32 *value)
{
  const guint8 *p = header + 6 + 8 * field;

  *value = 0;
  for (guint i = 0; i < 8; i++)
    {
      int digit = g_ascii_xdigit_value ((char)p[i]);
      if (digit < 0)
        return FALSE;
      *value = *value << 4 | (guint32)digit;
    }
  return TRUE;
}

/* NAME without what means nothing to the kernel; NULL when it is the root itself or leaves it. */
static char *
clean_name (const char *name)
{
  g_auto (GStrv) parts = g_strsplit (name, "/", -1);
  g_autoptr (GString) clean = g_string_new (NULL);

  for (char **p = parts; *p; p++)
    {
      if (g_str_equal (*p, ".."))
        return NULL;
      if (**p == '\0' || g_str_equal (*p, "."))
        continue;
      if (clean->len)
        g_string_append_c (clean, '/');
      g_string_append (clean, *p);
    }
  return clean->len ? g_strdup (clean->str) : NULL;
}

static gboolean
end_header (H2kCpioReader *reader, GError **error)
{
  const guint8 *header = reader->header->data;
  guint32 field[N_FIELDS];

  if (memcmp (header, "070701", 6) != 0 && memcmp (header, "070702", 6) != 0)
    return bad (reader, error, "no header");
  for (guint i = 0; i < N_FIELDS; i++)
    if (!parse_field (header, i, &field[i]))
      return bad (reader, error, "a header that is not hexadecimal");
  if (field[FIELD_NAMESIZE] == 0 || field[FIELD_NAMESIZE] > NAME_MAX_SIZE)
    return bad (reader, error, "a name of impossible length");
  if (S_ISLNK (field[FIELD_MODE]) && field[FIELD_FILESIZE] > NAME_MAX_SIZE)
    return bad (reader, error, "a link target of impossible length");

  reader->entry.mode = field[FIELD_MODE];
  reader->entry.nlink = field[FIELD_NLINK];
  reader->entry.size = field[FIELD_FILESIZE];
  reader->name_size = field[FIELD_NAMESIZE];
  reader->state = STATE_NAME;
  reader->todo = (HEADER_SIZE + field[FIELD_NAMESIZE] + 3) / 4 * 4 - HEADER_SIZE;
  return TRUE;
}

static gboolean
end_name (H2kCpioReader *reader, GError **error)
{
  const char *name = (const char *)reader->header->data + HEADER_SIZE;

  if (name[reader->name_size - 1] != '\0')
    return bad (reader, error, "a name without an end");
  g_clear_pointer (&reader->name, g_free);
  reader->last = g_str_equal (name, TRAILER);
  reader->name = reader->last ? NULL : clean_name (name);
  reader->entry.name = reader->name;

  reader->kept = reader->name
                 && (S_ISLNK (reader->entry.mode)
                     || reader->entry.size <= reader->handler->keep (&reader->entry, reader->data));
  g_byte_array_set_size (reader->content, 0);
  reader->state = STATE_CONTENT;
  reader->todo = reader->entry.size;
  return TRUE;
}

static char *
copy_terminated (const GByteArray *array)
{
  char *copy = g_malloc ((gsize)array->len + 1);

  if (array->len)
    memcpy (copy, array->data, array->len);
  copy[array->len] = '\0';
  return copy;
}

static gboolean
end_content (H2kCpioReader *reader, GError **error)
{
  g_autoptr (GBytes) content = NULL;

  reader->state = STATE_PADDING;
  reader->todo = -reader->offset & 3;
  if (!reader->name)
    return TRUE;
  if (reader->kept)
    content = g_bytes_new_take (copy_terminated (reader->content), reader->content->len);
  return reader->handler->member (&reader->entry, content, reader->data, error);
}

static void
begin_header (H2kCpioReader *reader)
{
  g_byte_array_set_size (reader->header, 0);
  reader->state = STATE_HEADER;
  reader->todo = HEADER_SIZE;
}

/* The state's last byte was read: what is next. */
static gboolean
advance (H2kCpioReader *reader, GError **error)
{
  switch (reader->state)
    {
    case STATE_HEADER:
      return end_header (reader, error);
    case STATE_NAME:
      return end_name (reader, error);
    case STATE_CONTENT:
      return end_content (reader, error);
    case STATE_PADDING:
      if (reader->last)
        reader->state = STATE_REST;
      else
        begin_header (reader);
      return TRUE;
    case STATE_REST:
      break;
    }
  return TRUE;
}

/* Between archives: zeros are passed over, "0" begins the next one. Returns the bytes passed. */
static gsize
rest (H2kCpioReader *reader, const guint8 *bytes, gsize length, gboolean *stop, GError **error)
{
  gsize n = 0;

  while (n < length && bytes[n] == 0)
    n++;
  reader->offset += n;
  *stop = n < length;
  if (*stop && bytes[n] == '0')
    {
      *stop = (reader->offset & 3) != 0;
      if (*stop)
        bad (reader, error, "an archive that does not begin at a multiple of 4");
      else
        begin_header (reader);
    }
  return n;
}

gboolean
h2k_cpio_reader_feed (H2kCpioReader *reader, const guint8 *bytes, gsize length, gsize *used,
                      GError **error)
{
  GError *failure = NULL;
  gboolean stop = FALSE;
  gsize done = 0;

  while (done < length && !stop)
    if (reader->state == STATE_REST)
      done += rest (reader, bytes + done, length - done, &stop, &failure);
    else
      {
        gsize n = (gsize)MIN (reader->todo, length - done);
        if (reader->state == STATE_HEADER || reader->state == STATE_NAME)
          g_byte_array_append (reader->header, bytes + done, (guint)n);
        else if (reader->state == STATE_CONTENT && reader->kept)
          g_byte_array_append (reader->content, bytes + done, (guint)n);
        done += n;
        h2k_cpio_reader_skip (reader, n);
        while (reader->state != STATE_REST && reader->todo == 0 && !stop)
          stop = !advance (reader, &failure);
      }
  *used = done;
  if (failure)
    g_propagate_error (error, failure);
  return !failure;
}

gboolean
h2k_cpio_reader_at_rest (const H2kCpioReader *reader)
{
  return reader->state == STATE_REST;
}

guint64
h2k_cpio_reader_skippable (const H2kCpioReader *reader)
{
  /* The last byte is left: reading it ends the state. */
  return reader->state == STATE_CONTENT && !reader->kept && reader->todo ? reader->todo - 1 : 0;
}

void
h2k_cpio_reader_skip (H2kCpioReader *reader, guint64 length)
{
  g_assert (length <= reader->todo);
  reader->todo -= length;
  reader->offset += length;
}

struct _H2kCpioWriter
{
  GByteArray *bytes;
  guint32 inode;
};

H2kCpioWriter *
h2k_cpio_writer_new (void)
{
  H2kCpioWriter *writer = g_new0 (H2kCpioWriter, 1);

  writer->bytes = g_byte_array_new ();
  return writer;
}

void
h2k_cpio_writer_free (H2kCpioWriter *writer)
{
  if (!writer)
    return;
  if (writer->bytes)
    g_byte_array_unref (writer->bytes);
  g_free (writer);
}

static void
append_padded (GByteArray *array, const void *bytes, gsize length)
{
  static const guint8 zeros[4];

  g_assert (length < G_MAXUINT - 4 - array->len);
  g_byte_array_append (array, bytes, (guint)length);
  g_byte_array_append (array, zeros, -array->len & 3);
}

static void
add (H2kCpioWriter *writer, const char *name, guint32 mode, guint32 inode, const void *content,
     gsize length)
{
  gsize name_size = strlen (name) + 1;
  guint32 nlink = S_ISDIR (mode) ? 2 : 1;
  g_autofree char *header
      = g_strdup_printf ("070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", inode, mode,
                         0, 0, nlink, 0, (guint32)length, 0, 0, 0, 0, (guint32)name_size, 0);

  g_byte_array_append (writer->bytes, (const guint8 *)header, HEADER_SIZE);
  append_padded (writer->bytes, name, name_size);
  if (length)
    append_padded (writer->bytes, content, length);
}

void
h2k_cpio_writer_add (H2kCpioWriter *writer, const char *name, guint32 mode, GBytes *content)
{
  gsize length = 0;
  const void *bytes = content ? g_bytes_get_data (content, &length) : NULL;

  g_assert (*name != '/' && strlen (name) < NAME_MAX_SIZE);
  add (writer, name, mode, ++writer->inode, bytes, length);
}

GBytes *
h2k_cpio_writer_finish (H2kCpioWriter *writer)
{
  add (writer, TRAILER, 0, 0, NULL, 0);
  return g_byte_array_free_to_bytes (g_steal_pointer (&writer->bytes));
}
