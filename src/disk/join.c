/* join.c - several files one behind the other as one: the chunks of an OVF's file.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/gzip.h"

typedef struct
{
  H2kFile file;
  GPtrArray *parts; /* H2kFile * */
  guint64 *starts;  /* of each part; one more: the end */
} JoinedFile;

/* The part that holds OFFSET. */
static guint
find_part (const JoinedFile *joined, guint64 offset)
{
  guint low = 0, high = joined->parts->len;

  while (high - low > 1)
    {
      guint middle = low + (high - low) / 2;
      if (joined->starts[middle] <= offset)
        low = middle;
      else
        high = middle;
    }
  return low;
}

static gboolean
joined_pread (H2kFile *file, guint64 offset, gsize length, void *buffer, GError **error)
{
  JoinedFile *joined = (JoinedFile *)file;
  guint8 *out = buffer;

  for (guint i = find_part (joined, offset); length; i++)
    {
      gsize n = (gsize)MIN (length, joined->starts[i + 1] - offset);

      if (!h2k_file_pread (joined->parts->pdata[i], offset - joined->starts[i], n, out, error))
        return FALSE;
      offset += n;
      out += n;
      length -= n;
    }
  return TRUE;
}

static void
joined_will_need (H2kFile *file, guint64 offset, guint64 length)
{
  JoinedFile *joined = (JoinedFile *)file;
  guint i = find_part (joined, offset);

  h2k_file_will_need (joined->parts->pdata[i], offset - joined->starts[i],
                      MIN (length, joined->starts[i + 1] - offset));
}

static void
joined_finalize (H2kFile *file)
{
  JoinedFile *joined = (JoinedFile *)file;

  g_ptr_array_unref (joined->parts);
  g_free (joined->starts);
}

static const H2kFileOps joined_ops = {
    .pread = joined_pread,
    .will_need = joined_will_need,
    .finalize = joined_finalize,
};

H2kFile *
h2k_file_new_joined (GPtrArray *parts, const char *name)
{
  JoinedFile *joined = g_new0 (JoinedFile, 1);
  const H2kFile *first = parts->pdata[0];

  joined->parts = g_ptr_array_new_with_free_func ((GDestroyNotify)h2k_file_unref);
  joined->starts = g_new0 (guint64, parts->len + 1);
  for (guint i = 0; i < parts->len; i++)
    {
      H2kFile *part = parts->pdata[i];

      g_ptr_array_add (joined->parts, h2k_file_ref (part));
      joined->starts[i + 1] = joined->starts[i] + MIN (part->size, G_MAXINT64 - joined->starts[i]);
    }
  h2k_file_init (&joined->file, &joined_ops, joined->starts[parts->len], first->path);
  g_free (joined->file.name);
  joined->file.name = h2k_escape_text (name, -1);
  joined->file.server = first->server;
  joined->file.dev = first->dev;
  joined->file.ino = first->ino;
  return &joined->file;
}
