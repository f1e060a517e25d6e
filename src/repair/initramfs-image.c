/* initramfs-image.c - walks through the segments of an initramfs as init/initramfs.c of Linux does.
 *
 * Zeros between segments are passed over; "0" at a multiple of 4 begins an archive, anything else
 * must be the magic of a compression, whose stream must hold whole archives.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/initramfs-image.h"
#include "repair/payload.h"

#include <sys/stat.h>

#define MAX_MEMBERS 200000
#define MAX_NAMES (32u << 20) /* bytes of all names and link targets */
#define MAX_LINKS 40
#define DEFAULT_LIMIT (1ull << 30)
#define READ_SIZE (1u << 20)

/* Files whose content the repair changes, and how large they may be. */
static const char *const kept_files[] = {"conf/modules", "conf/initramfs.conf", "config", NULL};
static const char kept_folder[] = "conf/conf.d/";
#define KEEP_SIZE (256u << 10)

typedef struct
{
  H2kInitramfsRead read;
  gpointer data;
  H2kInitramfs *image;
  guint64 limit;
  gsize names;     /* bytes */
  guint64 pos;     /* of the next byte that is not yet used */
  GBytes *window;  /* what was read of the image */
  guint64 win_pos; /* where WINDOW lies */
} Scan;

const char *
h2k_payload_name (H2kPayload payload)
{
  for (const H2kPayloadOps *ops = h2k_payloads; ops->name; ops++)
    if (ops->payload == payload && payload != H2K_PAYLOAD_NONE)
      return ops->name;
  return "not compressed";
}

static void
member_free (gpointer data)
{
  H2kInitramfsMember *member = data;

  g_free (member->target);
  g_clear_pointer (&member->content, g_bytes_unref);
  g_free (member);
}

void
h2k_initramfs_free (H2kInitramfs *image)
{
  if (!image)
    return;
  g_hash_table_unref (image->members);
  g_free (image);
}

/* --- members ---------------------------------------------------------------------------------- */

static gboolean
is_kept (const H2kCpioEntry *entry)
{
  return S_ISREG (entry->mode)
         && (g_strv_contains (kept_files, entry->name)
             || g_str_has_prefix (entry->name, kept_folder));
}

static gsize
keep_member (const H2kCpioEntry *entry, gpointer data)
{
  return is_kept (entry) ? KEEP_SIZE : 0;
}

static gboolean
add_member (const H2kCpioEntry *entry, GBytes *content, gpointer data, GError **error)
{
  Scan *scan = data;
  H2kInitramfsMember *member;

  scan->names += strlen (entry->name) + (content ? g_bytes_get_size (content) : 0);
  if (g_hash_table_size (scan->image->members) >= MAX_MEMBERS || scan->names > MAX_NAMES)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT, "more than %d members or %u MiB of names",
                   MAX_MEMBERS, MAX_NAMES >> 20);
      return FALSE;
    }
  member = g_new0 (H2kInitramfsMember, 1);
  member->mode = entry->mode;
  if (S_ISLNK (entry->mode))
    member->target = g_strdup (content ? g_bytes_get_data (content, NULL) : "");
  else if (content && is_kept (entry))
    member->content = g_bytes_ref (content);
  g_hash_table_insert (scan->image->members, g_strdup (entry->name), member);
  return TRUE;
}

static const H2kCpioHandler handler = {keep_member, add_member};

/* --- reading ---------------------------------------------------------------------------------- */

/* The bytes at scan->pos, at least WANT of them unless the image ends before. NULL: an error. */
static const guint8 *
look (Scan *scan, gsize want, gsize *available, GError **error)
{
  guint64 left = scan->image->size - scan->pos;
  guint64 win_end = scan->window ? scan->win_pos + g_bytes_get_size (scan->window) : 0;
  gboolean inside = scan->window && scan->pos >= scan->win_pos && scan->pos <= win_end;

  if (!inside || win_end - scan->pos < MIN (want, left))
    {
      gsize n = (gsize)MIN (MAX (want, READ_SIZE), left);
      g_clear_pointer (&scan->window, g_bytes_unref);
      scan->window = scan->read (scan->pos, n, scan->data, error);
      scan->win_pos = scan->pos;
      if (!scan->window)
        return NULL;
      if (g_bytes_get_size (scan->window) != n)
        {
          g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT, "the file ends early");
          return NULL;
        }
      win_end = scan->pos + n;
    }
  *available = (gsize)(win_end - scan->pos);
  return (const guint8 *)g_bytes_get_data (scan->window, NULL) + (scan->pos - scan->win_pos);
}

static gboolean
count_unpacked (Scan *scan, guint64 n, GError **error)
{
  scan->image->unpacked += n;
  if (scan->image->unpacked <= scan->limit)
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
               "it unpacks to more than %" G_GUINT64_FORMAT " MiB", scan->limit >> 20);
  return FALSE;
}

static gboolean
truncated (Scan *scan, const char *what, GError **error)
{
  g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT, "%s ends inside an archive", what);
  return FALSE;
}

/* An archive that is not compressed: the content of files is not even read. */
static gboolean
read_archive (Scan *scan, GError **error)
{
  g_autoptr (H2kCpioReader) reader = h2k_cpio_reader_new (&handler, scan);
  guint64 left;

  do
    {
      gsize available, used;
      const guint8 *bytes = look (scan, 1, &available, error);
      if (!bytes || !h2k_cpio_reader_feed (reader, bytes, available, &used, error))
        return FALSE;
      scan->pos += used;
      left = scan->image->size - scan->pos;
      if (used < available)
        break;
      guint64 skip = MIN (h2k_cpio_reader_skippable (reader), left);
      h2k_cpio_reader_skip (reader, skip);
      scan->pos += skip;
      left -= skip;
      if (!count_unpacked (scan, used + skip, error))
        return FALSE;
    }
  while (left);
  return h2k_cpio_reader_at_rest (reader) || truncated (scan, "the image", error);
}

static gboolean
feed_unpacked (Scan *scan, H2kCpioReader *reader, const guint8 *bytes, gsize length, GError **error)
{
  gsize used;

  if (!count_unpacked (scan, length, error)
      || !h2k_cpio_reader_feed (reader, bytes, length, &used, error))
    return FALSE;
  if (used == length)
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
               "its compressed data holds something that is no cpio archive");
  return FALSE;
}

static gboolean
unpack (Scan *scan, const H2kPayloadOps *ops, gpointer state, guint8 *out, GError **error)
{
  g_autoptr (H2kCpioReader) reader = h2k_cpio_reader_new (&handler, scan);
  gboolean ended = FALSE;
  gsize want = 1;

  while (!ended)
    {
      H2kPayloadStep step = {.out = out, .out_size = ops->out_size};
      step.in = look (scan, want, &step.in_size, error);
      step.in_last = step.in && scan->pos + step.in_size == scan->image->size;
      if (!step.in || !ops->step (state, &step, error)
          || !feed_unpacked (scan, reader, out, step.out_used, error))
        return FALSE;
      scan->pos += step.in_used;
      ended = step.ended;
      want = MAX (step.in_need, 1);
      if (!ended && want == 1 && step.in_used == 0 && step.out_used == 0)
        return truncated (scan, "the compressed data", error);
    }
  return h2k_cpio_reader_at_rest (reader) || truncated (scan, "the compressed data", error);
}

static gboolean
read_compressed (Scan *scan, const H2kPayloadOps *ops, GError **error)
{
  g_autofree guint8 *out = NULL;
  gpointer state = ops->open ? ops->open () : NULL;
  gboolean ok = FALSE;

  if (!ops->open)
    g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED, "it is compressed with %s", ops->name);
  else if (!state)
    g_set_error (error, H2K_ERROR, H2K_ERROR_FAILED, "the %s library failed", ops->name);
  else
    {
      out = g_malloc (ops->out_size);
      ok = unpack (scan, ops, state, out, error);
      ops->close (state);
    }
  return ok;
}

static gboolean
read_segment (Scan *scan, const guint8 *bytes, gsize available, GError **error)
{
  const H2kPayloadOps *ops = h2k_payloads;
  gboolean ok;

  scan->image->payload = H2K_PAYLOAD_NONE;
  if (available >= 6 && bytes[0] == '0' && (scan->pos & 3) == 0)
    ok = read_archive (scan, error);
  else
    {
      while (ops->name
             && (available < ops->magic_size || memcmp (bytes, ops->magic, ops->magic_size) != 0))
        ops++;
      if (!ops->name)
        {
          g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                       "at byte %" G_GUINT64_FORMAT
                       " begins neither a cpio archive nor a known compression",
                       scan->pos);
          return FALSE;
        }
      ok = read_compressed (scan, ops, error);
      scan->image->payload = ops->payload;
    }
  scan->image->segments++;
  return ok;
}

/* Pass over zeros; FALSE without an error: the image ends. */
static gboolean
next_segment (Scan *scan, const guint8 **bytes, gsize *available, GError **error)
{
  while (scan->pos < scan->image->size)
    {
      gsize n = 0;
      *bytes = look (scan, 16, available, error);
      if (!*bytes)
        return FALSE;
      while (n < *available && (*bytes)[n] == 0)
        n++;
      if (n == 0)
        return TRUE;
      scan->pos += n;
    }
  return FALSE;
}

/* A boot configuration behind the initramfs (Linux, admin-guide/bootconfig.rst) is found by the
 * file's last bytes: nothing may be appended behind it. */
static gboolean
check_bootconfig (Scan *scan, GError **error)
{
  static const char magic[] = "#BOOTCONFIG\n";
  gsize length = sizeof magic - 1;
  g_autoptr (GBytes) tail = NULL;

  if (scan->image->size < length)
    return TRUE;
  tail = scan->read (scan->image->size - length, length, scan->data, error);
  if (!tail)
    return FALSE;
  if (g_bytes_get_size (tail) != length
      || memcmp (g_bytes_get_data (tail, NULL), magic, length) != 0)
    return TRUE;
  g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
               "it ends with a boot configuration, behind which nothing can be added");
  return FALSE;
}

static gboolean
read_segments (Scan *scan, GError **error)
{
  GError *failure = NULL;
  const guint8 *bytes;
  gsize available;

  while (!failure && next_segment (scan, &bytes, &available, &failure))
    if (read_segment (scan, bytes, available, &failure))
      scan->image->end = scan->pos;
  if (!failure && g_hash_table_size (scan->image->members) == 0)
    g_set_error (&failure, H2K_ERROR, H2K_ERROR_FORMAT, "it is empty");
  if (failure)
    g_propagate_error (error, failure);
  return !failure;
}

H2kInitramfs *
h2k_initramfs_read (H2kInitramfsRead read, gpointer data, guint64 size, guint64 limit,
                    GError **error)
{
  g_autoptr (H2kInitramfs) image = g_new0 (H2kInitramfs, 1);
  Scan scan = {.read = read, .data = data, .image = image, .limit = limit ? limit : DEFAULT_LIMIT};
  gboolean ok;

  image->members = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, member_free);
  image->size = size;
  ok = check_bootconfig (&scan, error) && read_segments (&scan, error);
  g_clear_pointer (&scan.window, g_bytes_unref);
  return ok ? g_steal_pointer (&image) : NULL;
}

/* --- looking ---------------------------------------------------------------------------------- */

const H2kInitramfsMember *
h2k_initramfs_member (const H2kInitramfs *image, const char *name)
{
  return g_hash_table_lookup (image->members, name);
}

char *
h2k_initramfs_resolve (const H2kInitramfs *image, const char *name)
{
  g_autoptr (GString) done = g_string_new (NULL);
  g_autofree char *todo = g_strdup (name);
  guint links = 0;

  while (*todo)
    {
      gsize n = strcspn (todo, "/");
      g_autofree char *part = g_strndup (todo, n);
      g_autofree char *rest = g_strdup (todo + n + strspn (todo + n, "/"));
      const char *slash = strrchr (done->str, '/');
      gsize parent = slash ? (gsize)(slash - done->str) : 0;
      gsize before = done->len;
      const H2kInitramfsMember *member;

      if (g_str_equal (part, ".."))
        g_string_truncate (done, parent);
      else if (*part && !g_str_equal (part, "."))
        g_string_append_printf (done, "%s%s", done->len ? "/" : "", part);
      member = done->len > before ? h2k_initramfs_member (image, done->str) : NULL;
      if (member && member->target)
        {
          if (++links > MAX_LINKS)
            return NULL;
          g_string_truncate (done, *member->target == '/' ? 0 : before);
          g_free (todo);
          todo = g_strconcat (member->target, "/", rest, NULL);
        }
      else
        {
          g_free (todo);
          todo = g_steal_pointer (&rest);
        }
    }
  return g_strdup (done->str);
}

/* --- adding ----------------------------------------------------------------------------------- */

static GBytes *
with_padding (gsize zeros, GBytes *bytes)
{
  gsize size;
  const guint8 *p = g_bytes_get_data (bytes, &size);
  guint8 *all = g_malloc0 (zeros + size);

  memcpy (all + zeros, p, size);
  return g_bytes_new_take (all, zeros + size);
}

/* Another stream of the same compression directly behind the last one is what every reader of such
 * a file understands as its continuation: the kernel, the kernels before 5.14 that cannot find the
 * end of an lz4 stream, and the guest's `zstd -d` and the like. An archive that is not compressed
 * has to begin at a multiple of 4. */
GBytes *
h2k_initramfs_pack (const H2kInitramfs *image, GBytes *archive, H2kPayload *payload, GError **error)
{
  const H2kPayloadOps *ops = h2k_payloads;
  gboolean padded = image->end < image->size;
  gsize zeros = -image->size & 3;
  GBytes *packed;

  while (ops->name && (ops->payload != image->payload || !ops->pack))
    ops++;
  if (!ops->name || (padded && image->payload == H2K_PAYLOAD_LZ4))
    {
      /* Zeros end an lz4 stream where there are 4 of them. */
      if (image->payload == H2K_PAYLOAD_LZ4 && image->size + zeros - image->end < 4)
        zeros += 4;
      *payload = H2K_PAYLOAD_NONE;
      return with_padding (zeros, archive);
    }
  *payload = ops->payload;
  packed = ops->pack (archive);
  if (!packed)
    g_set_error (error, H2K_ERROR, H2K_ERROR_FAILED, "the %s library failed", ops->name);
  return packed;
}
