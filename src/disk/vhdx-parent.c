/* vhdx-parent.c - the parent of a differencing VHDX disk: how the image names it, and whether what
 * is found is the right one.
 *
 * Follows [MS-VHDX], "Parent Locator".
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "disk/vhdx.h"

#define set_corrupt(error, ...) h2k_set_corrupt (error, "VHDX", __VA_ARGS__)

/* All numbers are little-endian. */
typedef struct __attribute__ ((packed))
{
  H2kVhdxGuid locator_type;  /* 0 */
  guint8 reserved[2];        /* 16 */
  guint8 key_value_count[2]; /* 18 */
} LocatorHeader;
G_STATIC_ASSERT (sizeof (LocatorHeader) == 20);

typedef struct __attribute__ ((packed))
{
  guint8 key_offset[4];   /* 0: in the item */
  guint8 value_offset[4]; /* 4 */
  guint8 key_length[2];   /* 8: bytes of UTF-16 */
  guint8 value_length[2]; /* 10 */
} LocatorEntry;
G_STATIC_ASSERT (sizeof (LocatorEntry) == 12);

static const H2kVhdxGuid vhdx_locator
    = H2K_VHDX_GUID (0xb04aefb7, 0xd19e, 0x4a81, 0xb7, 0x89, 0x25, 0xb8, 0xe9, 0x44, 0x59, 0x13);

typedef enum
{
  LOCATOR_RELATIVE, /* the paths in the order in which they are tried */
  LOCATOR_VOLUME,
  LOCATOR_ABSOLUTE,
  LOCATOR_LINKAGE,
  LOCATOR_LINKAGE2,
  N_LOCATOR_KEYS,
} LocatorKey;

static const char *const locator_keys[N_LOCATOR_KEYS] = {
    [LOCATOR_RELATIVE] = "relative_path",       [LOCATOR_VOLUME] = "volume_path",
    [LOCATOR_ABSOLUTE] = "absolute_win32_path", [LOCATOR_LINKAGE] = "parent_linkage",
    [LOCATOR_LINKAGE2] = "parent_linkage2",
};

typedef struct
{
  char *values[N_LOCATOR_KEYS]; /* NULL: absent */
} Locator;

static void
clear_locator (Locator *locator)
{
  for (guint i = 0; i < N_LOCATOR_KEYS; i++)
    g_free (locator->values[i]);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Locator, clear_locator)

/* LENGTH bytes of UTF-16 at OFFSET of ITEM; NULL when they are not there or no text. */
static char *
locator_text (const guint8 *item, gsize size, guint32 offset, guint16 length)
{
  g_autofree gunichar2 *text = NULL;

  if (length == 0 || length % 2 || offset > size || length > size - offset)
    return NULL;
  text = g_new (gunichar2, length / 2);
  for (guint i = 0; i < length / 2u; i++)
    text[i] = h2k_le16 (item + offset + 2 * i);
  return g_utf16_to_utf8 (text, length / 2, NULL, NULL, NULL);
}

/* Which of the known keys ENTRY has. Only what is as long as one of them is looked at. */
static guint
find_key (const guint8 *item, gsize size, const LocatorEntry *entry)
{
  guint16 length = h2k_le16 (entry->key_length);
  guint key = 0;

  while (key < N_LOCATOR_KEYS)
    {
      if (length == 2 * strlen (locator_keys[key]))
        {
          g_autofree char *text = locator_text (item, size, h2k_le32 (entry->key_offset), length);
          if (g_strcmp0 (text, locator_keys[key]) == 0)
            break;
        }
      key++;
    }
  return key;
}

static gboolean
parse_locator (const H2kVhdx *v, const guint8 *item, gsize size, Locator *locator, GError **error)
{
  const LocatorHeader *header = (const LocatorHeader *)item;
  const LocatorEntry *entries = (const LocatorEntry *)(item + sizeof *header);
  guint count = h2k_le16 (header->key_value_count);

  if (!h2k_vhdx_guid_equal (&header->locator_type, &vhdx_locator))
    {
      g_autofree char *type = h2k_vhdx_guid_to_text (&header->locator_type);
      g_set_error (error, H2K_ERROR, H2K_ERROR_UNSUPPORTED,
                   "%s: the parent is described in a way (%s) that is not known here; merge the "
                   "chain in Hyper-V (Merge-VHD) first",
                   v->file->name, type);
      return FALSE;
    }
  if (count * sizeof *entries > size - sizeof *header)
    return set_corrupt (error, v->file->name, "the parent locator is too short");
  for (guint i = 0; i < count; i++)
    {
      guint key = find_key (item, size, &entries[i]);

      if (key == N_LOCATOR_KEYS)
        continue;
      if (locator->values[key])
        return set_corrupt (error, v->file->name, "the parent locator has two entries \"%s\"",
                            locator_keys[key]);
      locator->values[key] = locator_text (item, size, h2k_le32 (entries[i].value_offset),
                                           h2k_le16 (entries[i].value_length));
      if (!locator->values[key])
        return set_corrupt (error, v->file->name, "the parent locator's \"%s\" is no text",
                            locator_keys[key]);
      g_strdelimit (locator->values[key], "\\", '/');
    }
  return TRUE;
}

static gboolean
read_locator (const H2kVhdx *v, const H2kVhdxRange *place, Locator *locator, GError **error)
{
  g_autofree guint8 *item = NULL;

  if (!place->length)
    return set_corrupt (error, v->file->name, "it has a parent, but does not say which");
  item = g_malloc (place->length);
  if (!h2k_file_pread (v->file, place->offset, place->length, item, error)
      || !parse_locator (v, item, place->length, locator, error))
    return FALSE;
  if (!locator->values[LOCATOR_LINKAGE])
    return set_corrupt (error, v->file->name, "it does not say what its parent contains");
  if (!locator->values[LOCATOR_RELATIVE] && !locator->values[LOCATOR_VOLUME]
      && !locator->values[LOCATOR_ABSOLUTE])
    return set_corrupt (error, v->file->name, "it does not say where its parent is");
  return TRUE;
}

/* The parent's path: where the relative path leads to, else a file of the name that one of the
 * paths ends in, beside the child: they are those of the machine that the disk comes from. */
static char *
find_parent (const H2kVhdx *v, const Locator *locator, GError **error)
{
  const char *relative = locator->values[LOCATOR_RELATIVE], *any = NULL;
  g_autofree char *folder = g_path_get_dirname (v->file->path), *place = NULL;
  char *path = relative && !g_path_is_absolute (relative)
                   ? h2k_sibling_find (v->file->path, relative)
                   : NULL;

  for (guint i = 0; !path && i <= LOCATOR_ABSOLUTE; i++)
    if (locator->values[i])
      {
        g_autofree char *base = g_path_get_basename (locator->values[i]);
        any = any ? any : locator->values[i];
        path = h2k_sibling_find (v->file->path, base);
      }
  if (path)
    return path;
  place = g_strdup_printf ("in the folder %s (and nowhere else: an image must not choose files of "
                           "this host)",
                           folder);
  h2k_set_missing (error, v->file->name, "parent", any, place);
  return NULL;
}

/* The parent has to be what it was when the child was made. */
static gboolean
check_parent (const H2kVhdx *v, const Locator *locator, GError **error)
{
  const H2kDisk *parent = v->disk.backing;
  const char *linkage = locator->values[LOCATOR_LINKAGE];
  const char *linkage2 = locator->values[LOCATOR_LINKAGE2];
  g_autofree char *found = h2k_vhdx_guid_to_text (&((const H2kVhdx *)parent)->data_write_guid);
  g_autofree char *safe = h2k_escape_text (linkage, -1);

  if (g_ascii_strcasecmp (found, linkage) != 0
      && (!linkage2 || g_ascii_strcasecmp (found, linkage2) != 0))
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_FORMAT,
                   "%s: belongs to a parent whose DataWriteGuid is %s, but that of %s is %s: it is "
                   "another disk, or was changed after the child was made; bring the parent that "
                   "belongs to it",
                   v->file->name, safe, parent->name, found);
      return FALSE;
    }
  if (parent->sector_size != v->disk.sector_size)
    return set_corrupt (error, v->file->name, "it has sectors of %u bytes and its parent of %u",
                        v->disk.sector_size, parent->sector_size);
  return TRUE;
}

gboolean
h2k_vhdx_open_parent (H2kVhdx *v, const H2kVhdxRange *locator_place, GError **error)
{
  g_auto (Locator) locator = {{0}};
  g_autofree char *path = NULL;

  if (!v->has_parent)
    return TRUE;
  if (!read_locator (v, locator_place, &locator, error))
    return FALSE;
  path = find_parent (v, &locator, error);
  if (!path)
    return FALSE;
  v->disk.backing = h2k_disk_open (path, "vhdx", error);
  if (!v->disk.backing)
    {
      g_prefix_error (error, "%s: cannot open its parent: ", v->file->name);
      return FALSE;
    }
  h2k_disk_add_files (&v->disk, v->disk.backing);
  return check_parent (v, &locator, error);
}
