/* tar.c - members of tar archives as files. See tar.h.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/tar.h"

#define BLOCK 512
#define MEMBERS_MAX 65536
#define EXTRA_MAX (64u << 10) /* of a long name or pax header */

/* A header block (POSIX.1-1988, "ustar"). */
typedef struct __attribute__ ((packed))
{
  char name[100];     /* 0 */
  char mode[8];       /* 100 */
  char uid[8];        /* 108 */
  char gid[8];        /* 116 */
  char size[12];      /* 124: octal, or GNU's base 256 with the first bit set */
  char mtime[12];     /* 136 */
  char chksum[8];     /* 148: the sum of all bytes, these taken as spaces */
  char typeflag;      /* 156 */
  char linkname[100]; /* 157 */
  char magic[6];      /* 257: "ustar\0", GNU: "ustar " */
  char version[2];    /* 263 */
  char uname[32];     /* 265 */
  char gname[32];     /* 297 */
  char devmajor[8];   /* 329 */
  char devminor[8];   /* 337 */
  char prefix[155];   /* 345: POSIX only */
  char pad[12];       /* 500 */
} Header;
G_STATIC_ASSERT (sizeof (Header) == BLOCK);

typedef struct
{
  H2kFile file;
  H2kFile *archive;
  guint64 offset;
} MemberFile;

/* What special headers say about the next member. */
typedef struct
{
  char *name; /* NULL: as its own header says */
  gboolean has_size;
  guint64 size;
} Next;

static void
clear_next (Next *next)
{
  g_free (next->name);
  *next = (Next){0};
}
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Next, clear_next)

/* --- a header --------------------------------------------------------------------------------- */

/* N bytes of octal digits between spaces and up to a NUL or space; FALSE for anything else. */
static gboolean
parse_octal (const char *text, gsize n, guint64 *value)
{
  gsize i = 0, digits = 0;

  *value = 0;
  while (i < n && text[i] == ' ')
    i++;
  for (; i < n && text[i] >= '0' && text[i] <= '7'; i++, digits++)
    {
      if (*value >> 60)
        return FALSE;
      *value = *value << 3 | (guint64)(text[i] - '0');
    }
  return digits && (i == n || text[i] == ' ' || text[i] == '\0');
}

static gboolean
parse_size (const char *text, gsize n, guint64 *value)
{
  const guint8 *bytes = (const guint8 *)text;

  if (!(bytes[0] & 0x80))
    return parse_octal (text, n, value);
  *value = bytes[0] & 0x7f;
  for (gsize i = 1; i < n; i++)
    {
      if (*value >> 55)
        return FALSE;
      *value = *value << 8 | bytes[i];
    }
  return TRUE;
}

/* Old programs summed signed characters. */
static gboolean
check_sum (const Header *h)
{
  const guint8 *bytes = (const guint8 *)h;
  guint64 stated;
  guint64 sum = 0;
  gint64 signed_sum = 0;

  for (gsize i = 0; i < BLOCK; i++)
    {
      gboolean inside = i >= G_STRUCT_OFFSET (Header, chksum)
                        && i < G_STRUCT_OFFSET (Header, chksum) + sizeof h->chksum;
      sum += inside ? ' ' : bytes[i];
      signed_sum += inside ? ' ' : (gint8)bytes[i];
    }
  return parse_octal (h->chksum, sizeof h->chksum, &stated)
         && (stated == sum || (gint64)stated == signed_sum);
}

gboolean
h2k_tar_probe (const guint8 *head, gsize length)
{
  return length >= BLOCK && memcmp (head + G_STRUCT_OFFSET (Header, magic), "ustar", 5) == 0
         && check_sum ((const Header *)head);
}

static char *
header_name (const Header *h)
{
  g_autofree char *name = g_strndup (h->name, sizeof h->name);
  g_autofree char *prefix = NULL;

  if (memcmp (h->magic, "ustar", sizeof h->magic) != 0 || !*h->prefix)
    return g_steal_pointer (&name);
  prefix = g_strndup (h->prefix, sizeof h->prefix);
  return g_strconcat (prefix, "/", name, NULL);
}

/* --- special members -------------------------------------------------------------------------- */

/* pax records: "LENGTH KEY=VALUE\n", the length in decimal and of the whole record. */
static gboolean
parse_pax (const char *text, gsize length, Next *next)
{
  while (length)
    {
      char *end;
      guint64 record = g_ascii_strtoull (text, &end, 10);
      const char *equals;

      if (!g_ascii_isdigit (*text) || *end != ' ' || record > length
          || record <= (gsize)(end - text) + 1 || text[record - 1] != '\n')
        return FALSE;
      end++;
      equals = memchr (end, '=', record - (gsize)(end - text));
      if (!equals)
        return FALSE;
      if (equals - end == 4 && memcmp (end, "path", 4) == 0)
        {
          g_free (next->name);
          next->name = g_strndup (equals + 1, record - 1 - (gsize)(equals + 1 - text));
        }
      else if (equals - end == 4 && memcmp (end, "size", 4) == 0)
        {
          char *stop;
          next->size = g_ascii_strtoull (equals + 1, &stop, 10);
          next->has_size = g_ascii_isdigit (equals[1]) && stop == text + record - 1;
          if (!next->has_size)
            return FALSE;
        }
      text += record;
      length -= record;
    }
  return TRUE;
}

static gboolean
set_damaged (H2kFile *archive, guint64 at, const char *what, GError **error)
{
  g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
               "%s: the archive is damaged or cut short at byte %" G_GUINT64_FORMAT
               ": %s; fetch it again and compare checksums with the original",
               archive->name, at, what);
  return FALSE;
}

/* The member of TYPE with SIZE bytes at OFFSET describes the next one. */
static gboolean
read_special (H2kFile *archive, char type, guint64 offset, guint64 size, Next *next, GError **error)
{
  g_autofree char *text = NULL;

  if (size > EXTRA_MAX)
    return set_damaged (archive, offset, "an extended header is too large", error);
  text = g_malloc0 (size + 1);
  if (!h2k_file_pread (archive, offset, size, text, error))
    return FALSE;
  if (type == 'x')
    return parse_pax (text, size, next)
           || set_damaged (archive, offset, "an extended header is malformed", error);
  g_free (next->name);
  next->name = g_steal_pointer (&text);
  return TRUE;
}

/* --- the archive ------------------------------------------------------------------------------ */

static void
free_member (gpointer data)
{
  H2kTarMember *member = data;

  g_free (member->name);
  g_free (member);
}

static gboolean
add_member (GPtrArray *members, H2kFile *archive, const Header *h, guint64 offset, guint64 size,
            Next *next, GError **error)
{
  H2kTarMember *member;

  if (members->len >= MEMBERS_MAX)
    return set_damaged (archive, offset, "there are more members than an appliance has", error);
  member = g_new0 (H2kTarMember, 1);
  member->name = next->name ? g_steal_pointer (&next->name) : header_name (h);
  member->offset = offset;
  member->size = size;
  g_ptr_array_add (members, member);
  return TRUE;
}

/* The member whose header H lies before OFFSET. END is set to where the next header is. */
static gboolean
read_member (H2kFile *archive, const Header *h, guint64 offset, GPtrArray *members, Next *next,
             guint64 *end, GError **error)
{
  guint64 size;

  if (!check_sum (h))
    return set_damaged (archive, offset - BLOCK, "a header's checksum is wrong", error);
  if (!parse_size (h->size, sizeof h->size, &size))
    return set_damaged (archive, offset - BLOCK, "a header has an impossible size", error);
  if (next->has_size)
    size = next->size;
  /* Links, devices and folders have no content, whatever their size says. */
  if (h->typeflag >= '1' && h->typeflag <= '6')
    size = 0;
  if (size > archive->size - offset)
    return set_damaged (archive, offset - BLOCK, "a member is larger than the rest", error);
  *end = offset + (size + BLOCK - 1) / BLOCK * BLOCK;
  switch (h->typeflag)
    {
    case 'L': /* GNU: the next one's name */
    case 'x':
      return read_special (archive, h->typeflag, offset, size, next, error);
    case 'K': /* GNU: a link's target */
    case 'g': /* for the whole archive: comments, character sets */
      return TRUE;
    case 'S':
      g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                   "%s: has a sparse member, which cannot be read in place; unpack the archive and "
                   "use the files",
                   archive->name);
      return FALSE;
    case '\0':
    case '0':
    case '7':
      if (!add_member (members, archive, h, offset, size, next, error))
        return FALSE;
      break;
    default:
      break;
    }
  clear_next (next);
  return TRUE;
}

GPtrArray *
h2k_tar_list (H2kFile *archive, GError **error)
{
  g_autoptr (GPtrArray) members = g_ptr_array_new_with_free_func (free_member);
  g_auto (Next) next = {0};
  guint64 at = 0, headers = 0;

  while (at <= archive->size && archive->size - at >= BLOCK)
    {
      Header h;

      if (!h2k_file_pread (archive, at, BLOCK, &h, error))
        return NULL;
      if (h2k_is_zero ((const guint8 *)&h, BLOCK))
        return g_steal_pointer (&members);
      if (++headers > 2 * MEMBERS_MAX)
        {
          set_damaged (archive, at, "there are more headers than an appliance has", error);
          return NULL;
        }
      if (!read_member (archive, &h, at + BLOCK, members, &next, &at, error))
        return NULL;
    }
  /* No block of zeros at the end: some programs leave it out, but a cut looks the same unless the
   * last member is complete. */
  if (at > archive->size || members->len == 0)
    {
      set_damaged (archive, archive->size, "the last member is not complete", error);
      return NULL;
    }
  return g_steal_pointer (&members);
}

/* --- a member as a file ----------------------------------------------------------------------- */

static gboolean
member_pread (H2kFile *file, guint64 offset, gsize length, void *buffer, GError **error)
{
  MemberFile *member = (MemberFile *)file;

  return h2k_file_pread (member->archive, member->offset + offset, length, buffer, error);
}

static gboolean
member_extent (H2kFile *file, guint64 offset, H2kExtent *extent, GError **error)
{
  MemberFile *member = (MemberFile *)file;

  if (!h2k_file_extent (member->archive, member->offset + offset, extent, error))
    return FALSE;
  extent->offset = offset;
  extent->length = MIN (extent->length, file->size - offset);
  return TRUE;
}

static void
member_will_need (H2kFile *file, guint64 offset, guint64 length)
{
  MemberFile *member = (MemberFile *)file;

  h2k_file_will_need (member->archive, member->offset + offset, length);
}

static void
member_finalize (H2kFile *file)
{
  h2k_file_unref (((MemberFile *)file)->archive);
}

static const H2kFileOps member_ops = {
    .pread = member_pread,
    .extent = member_extent,
    .will_need = member_will_need,
    .finalize = member_finalize,
};

H2kFile *
h2k_tar_open (H2kFile *archive, const H2kTarMember *member)
{
  MemberFile *file = g_new0 (MemberFile, 1);
  g_autofree char *name = h2k_escape_text (member->name, -1);

  h2k_file_init (&file->file, &member_ops, member->size, archive->path);
  g_free (file->file.name);
  file->file.name = g_strdup_printf ("%s: %s", archive->name, name);
  file->file.server = archive->server;
  file->file.version = g_strdup (archive->version);
  file->file.dev = archive->dev;
  /* Not the archive itself, so that a chain may have several members of it. */
  file->file.ino = archive->ino ^ (member->offset + 1) << 32;
  file->archive = h2k_file_ref (archive);
  file->offset = member->offset;
  return &file->file;
}
