/* vmdk-descriptor.c - the text that lists a VMDK's extents: "The Descriptor File" of VMware's
 * "Virtual Disk Format 5.0". Keywords are taken in any case and with any spacing.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/vmdk.h"

#include <errno.h>

typedef struct
{
  const char *word;
  int value;
} Word;

static const Word access_words[] = {
    {"RW", H2K_VMDK_RW},
    {"RDONLY", H2K_VMDK_RDONLY},
    {"NOACCESS", H2K_VMDK_NOACCESS},
    {NULL, 0},
};

static const Word type_words[] = {
    {"FLAT", H2K_VMDK_FLAT},
    {"SPARSE", H2K_VMDK_SPARSE},
    {"ZERO", H2K_VMDK_ZERO},
    {"VMFS", H2K_VMDK_VMFS},
    {"VMFSSPARSE", H2K_VMDK_VMFSSPARSE},
    {"SESPARSE", H2K_VMDK_SESPARSE},
    {"VMFSRDM", H2K_VMDK_VMFSRDM},
    {"VMFSRAW", H2K_VMDK_VMFSRAW},
    {NULL, 0},
};

typedef enum
{
  VALUE_STRING,
  VALUE_NUMBER,
  VALUE_HEX,
} ValueKind;

static const struct
{
  const char *key;
  ValueKind kind;
  gsize offset;
} keys[] = {
#define KEY(name, kind, member)                                                                    \
  {                                                                                                \
    name, VALUE_##kind, G_STRUCT_OFFSET (H2kVmdkDescriptor, member)                                \
  }
    KEY ("version", NUMBER, version),
    KEY ("encoding", STRING, encoding),
    KEY ("CID", HEX, cid),
    KEY ("parentCID", HEX, parent_cid),
    KEY ("createType", STRING, create_type),
    KEY ("parentFileNameHint", STRING, parent_hint),
    KEY ("changeTrackPath", STRING, change_track),
    KEY ("encryptionKeys", STRING, encryption_keys),
    KEY ("ddb.adapterType", STRING, adapter_type),
    KEY ("ddb.uuid", STRING, uuid),
    KEY ("ddb.longContentID", STRING, long_content_id),
    KEY ("ddb.virtualHWVersion", STRING, hardware_version),
    KEY ("ddb.toolsVersion", STRING, tools_version),
    KEY ("ddb.thinProvisioned", STRING, thin_provisioned),
    KEY ("ddb.iofilters", STRING, io_filters),
    KEY ("ddb.geometry.cylinders", NUMBER, cylinders),
    KEY ("ddb.geometry.heads", NUMBER, heads),
    KEY ("ddb.geometry.sectors", NUMBER, sectors),
#undef KEY
};

static void
clear_extent (gpointer extent)
{
  g_free (((H2kVmdkExtent *)extent)->name);
}

void
h2k_vmdk_descriptor_free (H2kVmdkDescriptor *descriptor)
{
  if (!descriptor)
    return;
  for (gsize i = 0; i < G_N_ELEMENTS (keys); i++)
    if (keys[i].kind == VALUE_STRING)
      g_free (G_STRUCT_MEMBER (char *, descriptor, keys[i].offset));
  g_array_unref (descriptor->extents);
  g_free (descriptor);
}

/* Cut the next word off *P; NULL at the end of the line. */
static char *
next_word (char **p)
{
  char *word = *p + strspn (*p, " \t");
  char *end = word + strcspn (word, " \t");

  *p = *end ? end + 1 : end;
  *end = '\0';
  return *word ? word : NULL;
}

/* Cut the next word or quoted string off *P; NULL at the end of the line or without a closing
 * quote. */
static char *
next_name (char **p)
{
  char *quote = *p + strspn (*p, " \t");
  char *end;

  if (*quote != '"')
    return next_word (p);
  end = strchr (quote + 1, '"');
  if (!end || end == quote + 1)
    return NULL;
  *end = '\0';
  *p = end + 1;
  return quote + 1;
}

static gboolean
parse_number (const char *text, guint base, guint64 max, guint64 *value)
{
  return text && g_ascii_string_to_unsigned (text, base, 0, max, value, NULL);
}

static gboolean
find_word (const Word *words, const char *text, int *value)
{
  for (; text && words->word; words++)
    if (g_ascii_strcasecmp (words->word, text) == 0)
      {
        *value = words->value;
        return TRUE;
      }
  return FALSE;
}

/* ACCESS SECTORS TYPE ["NAME" [OFFSET ...]]; the access word has been cut off. */
static gboolean
parse_extent (char *rest, H2kVmdkExtent *extent)
{
  const guint64 max = G_MAXINT64 / H2K_VMDK_SECTOR;
  const char *offset, *name;
  int type;

  if (!parse_number (next_word (&rest), 10, max, &extent->sectors) || extent->sectors == 0)
    return FALSE;
  if (!find_word (type_words, next_word (&rest), &type))
    return FALSE;
  extent->type = (H2kVmdkExtentType)type;
  if (type == H2K_VMDK_ZERO)
    return TRUE;
  name = next_name (&rest);
  offset = next_word (&rest);
  if (!name || (offset && !parse_number (offset, 10, max - extent->sectors, &extent->offset)))
    return FALSE;
  extent->name = g_strdup (name);
  return TRUE;
}

/* The value of a KEY = VALUE line without blanks around it and without its quotes. */
static char *
unquote (char *value)
{
  gsize n;

  g_strstrip (value);
  n = strlen (value);
  if (n >= 2 && value[0] == '"' && value[n - 1] == '"')
    {
      value[n - 1] = '\0';
      value++;
    }
  return value;
}

static gboolean
parse_setting (H2kVmdkDescriptor *descriptor, char *line)
{
  char *equals = strchr (line, '=');
  char *value;
  guint64 number;

  if (!equals)
    return FALSE;
  *equals = '\0';
  value = unquote (equals + 1);
  g_strchomp (line);
  for (gsize i = 0; i < G_N_ELEMENTS (keys); i++)
    {
      gpointer member = G_STRUCT_MEMBER_P (descriptor, keys[i].offset);
      if (g_ascii_strcasecmp (keys[i].key, line) != 0)
        continue;
      if (keys[i].kind == VALUE_STRING)
        {
          g_free (*(char **)member);
          *(char **)member = g_strdup (value);
          return TRUE;
        }
      if (parse_number (value, keys[i].kind == VALUE_HEX ? 16 : 10, G_MAXUINT32, &number))
        {
          *(guint32 *)member = (guint32)number;
          return TRUE;
        }
      /* What the disk data base says is for information; the rest decides what is read. */
      return g_str_has_prefix (keys[i].key, "ddb.");
    }
  return TRUE; /* there are many more that do not matter here */
}

static gboolean
parse_line (H2kVmdkDescriptor *descriptor, char *line, guint number)
{
  H2kVmdkExtent extent = {.line = number};
  gsize n = strcspn (line, " \t");
  g_autofree char *first = g_strndup (line, n);
  int access;

  if (!find_word (access_words, first, &access))
    return parse_setting (descriptor, line);
  extent.access = (H2kVmdkAccess)access;
  if (!parse_extent (line + n, &extent))
    return FALSE;
  g_array_append_val (descriptor->extents, extent);
  return TRUE;
}

/* The descriptor names its own encoding in ASCII: find that before anything is converted. */
static char *
find_encoding (const char *text, gsize size)
{
  g_auto (GStrv) lines = NULL;
  g_autofree char *ascii = g_strndup (text, size);
  const gsize n = strlen ("encoding");

  lines = g_strsplit_set (ascii, "\r\n", -1);
  for (char **line = lines; *line; line++)
    {
      char *p = g_strstrip (*line);
      if (g_ascii_strncasecmp (p, "encoding", n) == 0 && *(p += n + strspn (p + n, " \t")) == '=')
        return g_strdup (unquote (p + 1));
    }
  return NULL;
}

static gboolean
is_ascii (const char *text, gsize size)
{
  for (gsize i = 0; i < size; i++)
    if (text[i] & 0x80)
      return FALSE;
  return TRUE;
}

/* Windows' editors save texts as UTF-16: TEXT in UTF-8, without its byte order mark; NULL when it
 * does not begin with one or is not UTF-16. */
static char *
from_utf16 (const char *text, gsize size)
{
  const gboolean little = size >= 2 && memcmp (text, "\xff\xfe", 2) == 0;

  if (!little && (size < 2 || memcmp (text, "\xfe\xff", 2) != 0))
    return NULL;
  return g_convert (text + 2, (gssize)((size - 2) & ~(gsize)1), "UTF-8",
                    little ? "UTF-16LE" : "UTF-16BE", NULL, NULL, NULL);
}

/* A NUL-terminated copy of TEXT in UTF-8, or as it is when it does not say another encoding. */
static char *
to_utf8 (const char *text, gsize size, const char *name, GError **error)
{
  g_autofree char *encoding = find_encoding (text, size);
  g_autoptr (GError) local = NULL;
  g_autofree char *safe = NULL;
  char *converted;

  if (!encoding || is_ascii (text, size) || g_ascii_strcasecmp (encoding, "UTF-8") == 0
      || g_ascii_strcasecmp (encoding, "UTF8") == 0)
    return g_strndup (text, size);
  converted = g_convert (text, (gssize)size, "UTF-8", encoding, NULL, NULL, &local);
  if (converted)
    return converted;
  if (g_utf8_validate (text, (gssize)size, NULL)) /* converted by somebody, but for its own word */
    return g_strndup (text, size);
  safe = h2k_escape_text (encoding, -1);
  g_set_error (error, H2K_ERROR,
               g_error_matches (local, G_CONVERT_ERROR, G_CONVERT_ERROR_NO_CONVERSION)
                   ? H2K_ERROR_UNSUPPORTED
                   : H2K_ERROR_FORMAT,
               "%s: the descriptor cannot be converted from its encoding \"%s\": %s; convert it to "
               "UTF-8 and set encoding=\"UTF-8\" in it",
               name, safe, local->message);
  return NULL;
}

/* Whole disks must be addressable. */
static gboolean
check_total (const H2kVmdkDescriptor *descriptor, const char *name, GError **error)
{
  guint64 total = 0;

  if (descriptor->extents->len == 0)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                   "%s: the descriptor lists no extents: it is truncated or not a VMDK", name);
      return FALSE;
    }
  for (guint i = 0; i < descriptor->extents->len; i++)
    {
      guint64 sectors = g_array_index (descriptor->extents, H2kVmdkExtent, i).sectors;
      if (sectors > G_MAXINT64 / H2K_VMDK_SECTOR - total)
        {
          g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                       "%s: the descriptor is corrupt: its extents add up to more than 8 EiB",
                       name);
          return FALSE;
        }
      total += sectors;
    }
  return TRUE;
}

H2kVmdkDescriptor *
h2k_vmdk_descriptor_parse (const char *text, gsize size, const char *name, GError **error)
{
  g_autoptr (H2kVmdkDescriptor) descriptor = g_new0 (H2kVmdkDescriptor, 1);
  g_autofree char *copy = NULL;
  guint number = 1;

  descriptor->extents = g_array_new (FALSE, FALSE, sizeof (H2kVmdkExtent));
  g_array_set_clear_func (descriptor->extents, clear_extent);
  descriptor->parent_cid = H2K_VMDK_NO_PARENT;

  copy = from_utf16 (text, size);
  if (!copy)
    copy = to_utf8 (text, strnlen (text, size), name, error);
  if (!copy)
    return NULL;
  if (g_str_has_prefix (copy, "\xef\xbb\xbf"))
    memset (copy, ' ', 3);
  for (char *line = copy, *end; line; line = end, number++)
    {
      g_autofree char *words = NULL;
      end = strpbrk (line, "\r\n");
      if (end)
        {
          gsize n = end[0] == '\r' && end[1] == '\n' ? 2 : 1;
          *end = '\0';
          end += n;
        }
      g_strstrip (line);
      if (*line == '\0' || *line == '#')
        continue;
      words = g_strdup (line);
      if (!parse_line (descriptor, words, number))
        {
          g_autofree char *safe = h2k_escape_text (line, (gssize)MIN (strlen (line), 80));
          g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                       "%s: line %u of the descriptor is not understood: \"%s\": the file is "
                       "corrupt or was edited wrongly",
                       name, number, safe);
          return NULL;
        }
    }
  return check_total (descriptor, name, error) ? g_steal_pointer (&descriptor) : NULL;
}

gboolean
h2k_vmdk_is_descriptor (const guint8 *head, gsize length)
{
  g_autofree char *wide = from_utf16 ((const char *)head, MIN (length, 4096));
  g_autofree char *text
      = wide ? g_steal_pointer (&wide) : g_strndup ((const char *)head, MIN (length, 4096));
  g_auto (GStrv) lines = NULL;
  const char *start = g_str_has_prefix (text, "\xef\xbb\xbf") ? text + 3 : text;

  lines = g_strsplit_set (start, "\r\n", -1);
  for (char **line = lines; *line; line++)
    {
      const char *p = g_strstrip (*line);
      g_autofree char *lower = NULL;
      if (*p == '\0')
        continue;
      lower = g_ascii_strdown (p, -1);
      if (*p == '#' && strstr (lower, "disk descriptorfile"))
        return TRUE;
      if (*p != '#')
        return g_str_has_prefix (lower, "version") && strchr (lower, '=');
    }
  return FALSE;
}
