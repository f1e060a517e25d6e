/* ntfs-acl.c - the security descriptors of new files.
 *
 * A file gets its directory's inheritable entries, as [MS-DTYP] 2.5.3.4 tells, as if a program of
 * LocalSystem had made it: this is what Windows' own installer of drivers does. Where nothing is
 * inheritable the file is for SYSTEM and Administrators alone, which is the default of
 * LocalSystem's token. (libntfs-3g's ntfs_inherited_id() leaves such a file without any list, which
 * lets everybody in, and gives it its directory's owner.)
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/ntfs-private.h"

#define MAX_DESCRIPTOR 65536u

/* A self-relative security descriptor. */
enum
{
  SD_REVISION = 0,
  SD_CONTROL = 2, /* le16 */
  SD_OWNER = 4,   /* le32, offsets */
  SD_GROUP = 8,
  SD_SACL = 12,
  SD_DACL = 16,
  SD_SIZE = 20,

  HAS_DACL = 0x0004,
  HAS_SACL = 0x0010,
  DACL_INHERITED = 0x0400,
  SACL_INHERITED = 0x0800,
  SELF_RELATIVE = 0x8000,
};

/* A list: u8 revision, u8, le16 size, le16 count, le16. An entry: u8 type, u8 flags, le16 size,
 * le32 mask, for most types the SID. */
enum
{
  ACL_HEADER = 8,
  ENTRY_TYPE = 0,
  ENTRY_FLAGS = 1,
  ENTRY_SIZE = 2,
  ENTRY_MASK = 4,
  ENTRY_SID = 8,

  FOR_FILES = 0x01,
  FOR_DIRECTORIES = 0x02,
  NOT_FURTHER = 0x04,
  INHERIT_ONLY = 0x08,
  INHERITED = 0x10,
  ALL_INHERITANCE = 0x1f,
};

static const guint8 system_sid[] = {1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0};
static const guint8 administrators_sid[] = {1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 32, 2, 0, 0};
static const guint8 creator_owner_sid[] = {1, 1, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0};
static const guint8 creator_group_sid[] = {1, 1, 0, 0, 0, 0, 0, 3, 1, 0, 0, 0};

/* What LocalSystem owns belongs to Administrators. */
#define OWNER administrators_sid
#define GROUP system_sid

static const struct
{
  const guint8 *sid;
  const guint8 *replacement;
  gsize size;
} creators[] = {
    {creator_owner_sid, OWNER, sizeof OWNER},
    {creator_group_sid, GROUP, sizeof GROUP},
};

static const struct
{
  guint32 generic, file;
} rights[] = {
    {0x80000000, 0x00120089}, /* read */
    {0x40000000, 0x00120116}, /* write */
    {0x20000000, 0x001200a0}, /* execute */
    {0x10000000, 0x001f01ff}, /* all */
};

#define ALL_GENERIC 0xf0000000u

static void
append16 (GByteArray *to, guint16 value)
{
  guint16 le = GUINT16_TO_LE (value);

  g_byte_array_append (to, (const guint8 *)&le, sizeof le);
}

static void
append32 (GByteArray *to, guint32 value)
{
  guint32 le = GUINT32_TO_LE (value);

  g_byte_array_append (to, (const guint8 *)&le, sizeof le);
}

/* --- entries ---------------------------------------------------------------------------------- */

typedef struct
{
  GByteArray *list; /* entries without the header */
  guint count;
} NewList;

static gboolean
has_sid (const guint8 *ace)
{
  guint8 type = ace[ENTRY_TYPE];

  return type <= 3 || type == 9 || type == 10 || type == 13 || type == 17 || type == 18;
}

/* The entry with FLAGS instead of its own; EFFECTIVE: as it applies to the new file itself. */
static void
add_entry (NewList *list, const guint8 *ace, guint size, guint8 flags, gboolean effective)
{
  guint32 mask = h2k_le32 (ace + ENTRY_MASK), file = mask & ~ALL_GENERIC;
  const guint8 *rest = ace + ENTRY_SID, *sid = rest;
  gsize sid_size = 0, rest_size = size - ENTRY_SID;
  guint8 head[2] = {ace[ENTRY_TYPE], (guint8)((ace[ENTRY_FLAGS] & ~ALL_INHERITANCE) | flags)};

  for (gsize i = 0; effective && has_sid (ace) && i < G_N_ELEMENTS (creators); i++)
    if (rest_size >= sizeof creator_owner_sid
        && memcmp (rest, creators[i].sid, sizeof creator_owner_sid) == 0)
      {
        sid = creators[i].replacement;
        sid_size = creators[i].size;
        rest += sizeof creator_owner_sid;
        rest_size -= sizeof creator_owner_sid;
        break;
      }
  for (gsize i = 0; i < G_N_ELEMENTS (rights); i++)
    if (mask & rights[i].generic)
      file |= rights[i].file;
  g_byte_array_append (list->list, head, sizeof head);
  append16 (list->list, (guint16)(ENTRY_SID + sid_size + rest_size));
  append32 (list->list, effective ? file : mask);
  g_byte_array_append (list->list, sid, (guint)sid_size);
  g_byte_array_append (list->list, rest, (guint)rest_size);
  list->count++;
}

/* Whether the entry means something else for a new file than for those below it. */
static gboolean
is_changed (const guint8 *ace, guint size)
{
  if (h2k_le32 (ace + ENTRY_MASK) & ALL_GENERIC)
    return TRUE;
  for (gsize i = 0; has_sid (ace) && i < G_N_ELEMENTS (creators); i++)
    if (size >= ENTRY_SID + sizeof creator_owner_sid
        && memcmp (ace + ENTRY_SID, creators[i].sid, sizeof creator_owner_sid) == 0)
      return TRUE;
  return FALSE;
}

static void
inherit_entry (NewList *list, const guint8 *ace, guint size, gboolean is_dir)
{
  guint8 flags = ace[ENTRY_FLAGS];
  guint8 further = flags & NOT_FURTHER ? 0 : flags & (FOR_FILES | FOR_DIRECTORIES);

  if (!is_dir)
    {
      if (flags & FOR_FILES)
        add_entry (list, ace, size, INHERITED, TRUE);
    }
  else if (!(flags & FOR_DIRECTORIES))
    {
      if (further)
        add_entry (list, ace, size, further | INHERIT_ONLY | INHERITED, FALSE);
    }
  else if (!further || !is_changed (ace, size))
    add_entry (list, ace, size, further | INHERITED, TRUE);
  else
    {
      add_entry (list, ace, size, INHERITED, TRUE);
      add_entry (list, ace, size, further | INHERIT_ONLY | INHERITED, FALSE);
    }
}

/* Append to LIST what is inherited from the list at OFFSET of DESCRIPTOR. */
static gboolean
inherit_list (NewList *list, const guint8 *descriptor, gsize size, guint32 offset, gboolean is_dir)
{
  guint count;
  gsize at, end;

  if (offset > size || size - offset < ACL_HEADER
      || h2k_le16 (descriptor + offset + 2) > size - offset)
    return FALSE;
  end = offset + h2k_le16 (descriptor + offset + 2);
  count = h2k_le16 (descriptor + offset + 4);
  at = offset + ACL_HEADER;
  for (guint i = 0; i < count; i++)
    {
      const guint8 *ace = descriptor + at;
      guint length;
      if (at > end || end - at < ENTRY_SID)
        return FALSE;
      length = h2k_le16 (ace + ENTRY_SIZE);
      if (length < ENTRY_SID || length % 4 || length > end - at)
        return FALSE;
      inherit_entry (list, ace, length, is_dir);
      at += length;
    }
  return TRUE;
}

/* --- descriptors ------------------------------------------------------------------------------ */

/* Append the list with REVISION to DESCRIPTOR, and set its offset at FIELD. */
static gboolean
append_list (GByteArray *descriptor, guint field, guint8 revision, const NewList *list)
{
  guint8 head[2] = {revision, 0};
  guint32 offset = GUINT32_TO_LE (descriptor->len);

  if (list->list->len + ACL_HEADER > G_MAXUINT16 - 3)
    return FALSE;
  memcpy (descriptor->data + field, &offset, sizeof offset);
  g_byte_array_append (descriptor, head, sizeof head);
  append16 (descriptor, (guint16)(ACL_HEADER + list->list->len));
  append16 (descriptor, (guint16)list->count);
  append16 (descriptor, 0);
  g_byte_array_append (descriptor, list->list->data, list->list->len);
  return TRUE;
}

static void
append_sid (GByteArray *descriptor, guint field, const guint8 *sid, guint size)
{
  guint32 offset = GUINT32_TO_LE (descriptor->len);

  memcpy (descriptor->data + field, &offset, sizeof offset);
  g_byte_array_append (descriptor, sid, size);
}

static void
add_default (NewList *list, const guint8 *sid, gsize size, guint32 mask)
{
  append16 (list->list, 0); /* allowed, not inherited */
  append16 (list->list, (guint16)(ENTRY_SID + size));
  append32 (list->list, mask);
  g_byte_array_append (list->list, sid, (guint)size);
  list->count++;
}

/* Make the descriptor of a file from the lists in PARENT, which has SIZE bytes. */
static GBytes *
make_descriptor (const guint8 *parent, gsize size, gboolean is_dir)
{
  g_autoptr (GByteArray) audit = g_byte_array_new (), access = g_byte_array_new ();
  g_autoptr (GByteArray) made = g_byte_array_new ();
  NewList sacl = {audit, 0}, dacl = {access, 0};
  guint16 control = h2k_le16 (parent + SD_CONTROL), new_control = SELF_RELATIVE | HAS_DACL;
  guint32 sacl_at = control & HAS_SACL ? h2k_le32 (parent + SD_SACL) : 0;
  guint32 dacl_at = control & HAS_DACL ? h2k_le32 (parent + SD_DACL) : 0;

  if ((sacl_at && !inherit_list (&sacl, parent, size, sacl_at, is_dir))
      || (dacl_at && !inherit_list (&dacl, parent, size, dacl_at, is_dir)))
    return NULL;
  if (sacl.count)
    new_control |= HAS_SACL | SACL_INHERITED;
  if (dacl.count)
    new_control |= DACL_INHERITED;
  else
    {
      add_default (&dacl, system_sid, sizeof system_sid, 0x001f01ff);
      add_default (&dacl, administrators_sid, sizeof administrators_sid, 0x001200a9);
    }
  g_byte_array_set_size (made, SD_SIZE);
  memset (made->data, 0, SD_SIZE);
  made->data[SD_REVISION] = 1;
  made->data[SD_CONTROL] = (guint8)new_control;
  made->data[SD_CONTROL + 1] = (guint8)(new_control >> 8);
  if ((sacl.count && !append_list (made, SD_SACL, parent[sacl_at], &sacl))
      || !append_list (made, SD_DACL, dacl_at ? parent[dacl_at] : 2, &dacl))
    return NULL;
  append_sid (made, SD_OWNER, OWNER, sizeof OWNER);
  append_sid (made, SD_GROUP, GROUP, sizeof GROUP);
  return g_byte_array_free_to_bytes (g_steal_pointer (&made));
}

/* --- what is there ---------------------------------------------------------------------------- */

static gboolean
check_sid (const guint8 *descriptor, gsize size, guint32 offset)
{
  return offset >= SD_SIZE && offset <= size && size - offset >= 8
         && size - offset >= 8 + 4u * descriptor[offset + 1];
}

gboolean
h2k_ntfs_check_descriptor (const guint8 *descriptor, gsize size)
{
  static const struct
  {
    guint field;
    guint16 present;
  } lists[] = {{SD_SACL, HAS_SACL}, {SD_DACL, HAS_DACL}};

  if (size < SD_SIZE || size > MAX_DESCRIPTOR || descriptor[SD_REVISION] != 1
      || !check_sid (descriptor, size, h2k_le32 (descriptor + SD_OWNER))
      || !check_sid (descriptor, size, h2k_le32 (descriptor + SD_GROUP)))
    return FALSE;
  for (gsize i = 0; i < G_N_ELEMENTS (lists); i++)
    {
      g_autoptr (GByteArray) entries = g_byte_array_new ();
      NewList list = {entries, 0};
      guint32 offset = h2k_le32 (descriptor + lists[i].field);
      if (offset && (h2k_le16 (descriptor + SD_CONTROL) & lists[i].present)
          && (offset < SD_SIZE || !inherit_list (&list, descriptor, size, offset, FALSE)))
        return FALSE;
    }
  return TRUE;
}

static GBytes *
read_all (ntfs_inode *ni, ATTR_TYPES type, ntfschar *name, guint32 name_length, guint64 offset,
          gsize size)
{
  g_autoptr (ntfs_attr) na = ntfs_attr_open (ni, type, name, name_length);
  g_autofree guint8 *data = NULL;

  if (!na)
    return NULL;
  if (!size && na->data_size > 0)
    size = (gsize)MIN (na->data_size, MAX_DESCRIPTOR + 1);
  errno = EIO;
  if (size < SD_SIZE || size > MAX_DESCRIPTOR || na->data_size < (s64)size
      || offset > (guint64)na->data_size - size)
    return NULL;
  data = g_malloc (size);
  return h2k_ntfs_pread (na, offset, size, data) ? g_bytes_new_take (g_steal_pointer (&data), size)
                                                 : NULL;
}

/* An entry of the index $SII: le16 8 its length, le32 16 the number, which is the key; what is in
 * $SDS: le32 20 hash, le32 24 number, le64 28 offset, le32 36 length, with such a header. */
#define SII_ENTRY 40u
#define SDS_HEADER 20u

static GBytes *
read_shared (ntfs_volume *vol, le32 number)
{
  ntfs_index_context *index = vol->secure_xsii;
  const guint8 *entry;
  guint64 offset;
  guint32 length;

  ntfs_index_ctx_reinit (index);
  if (ntfs_index_lookup (&number, sizeof number, index) != 0)
    return NULL;
  entry = (const guint8 *)index->entry;
  errno = EIO;
  if (h2k_le16 (entry + 8) < SII_ENTRY)
    return NULL;
  offset = h2k_le64 (entry + 28);
  length = h2k_le32 (entry + 36);
  if (length <= SDS_HEADER || offset > G_MAXINT64 - SDS_HEADER)
    return NULL;
  return read_all (vol->secure_ni, AT_DATA, STREAM_SDS, 4, offset + SDS_HEADER,
                   length - SDS_HEADER);
}

GBytes *
h2k_ntfs_read_descriptor (ntfs_inode *ni)
{
  gboolean shared = test_nino_flag (ni, v3_Extensions) && ni->security_id != 0 && ni->vol->secure_ni
                    && ni->vol->secure_xsii;
  g_autoptr (GBytes) descriptor = shared
                                      ? read_shared (ni->vol, ni->security_id)
                                      : read_all (ni, AT_SECURITY_DESCRIPTOR, AT_UNNAMED, 0, 0, 0);

  if (!descriptor)
    return NULL;
  errno = EIO;
  return h2k_ntfs_check_descriptor (g_bytes_get_data (descriptor, NULL),
                                    g_bytes_get_size (descriptor))
             ? g_steal_pointer (&descriptor)
             : NULL;
}

GBytes *
h2k_ntfs_inherit (ntfs_inode *dir, gboolean is_dir)
{
  static const guint8 nothing[SD_SIZE] = {1};
  g_autoptr (GBytes) parent = h2k_ntfs_read_descriptor (dir);
  gsize size = sizeof nothing;
  const guint8 *bytes = parent ? g_bytes_get_data (parent, &size) : nothing;
  GBytes *made;

  if (!parent && errno != ENOENT)
    return NULL;
  made = make_descriptor (bytes, size, is_dir);
  if (!made)
    errno = EIO;
  return made;
}
