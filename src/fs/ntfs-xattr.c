/* ntfs-xattr.c - what Windows keeps beside a file's content, as extended attributes.
 *
 * They are called, and look, as with ntfs-3g: "system.ntfs_acl" is the security descriptor,
 * "system.ntfs_attrib" the le32 of DOS attributes, "system.ntfs_times" four le64 (creation, change,
 * access, change of the record; 100 ns since 1601), "system.ntfs_reparse_data" a reparse point.
 * "user.NAME" is the alternate data stream NAME; it is only read.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "fs/ntfs-private.h"

#define STREAM_PREFIX "user."
#define MAX_STREAMS 256u
#define MAX_VALUE 65536

static const struct
{
  const char *name;
  enum SYSTEMXATTRS number;
} system_names[] = {
    {"system.ntfs_acl", XATTR_NTFS_ACL},
    {"system.ntfs_attrib", XATTR_NTFS_ATTRIB},
    {"system.ntfs_times", XATTR_NTFS_TIMES},
    {"system.ntfs_reparse_data", XATTR_NTFS_REPARSE_DATA},
};

static enum SYSTEMXATTRS
find_system_name (const char *name)
{
  for (gsize i = 0; i < G_N_ELEMENTS (system_names); i++)
    if (g_str_equal (system_names[i].name, name))
      return system_names[i].number;
  return XATTR_UNMAPPED;
}

/* --- streams ---------------------------------------------------------------------------------- */

/* Where the compressed content of CompactOS is, which is no stream of the user's. */
static gboolean
is_own_stream (const char *name)
{
  return g_str_equal (name, "WofCompressedData");
}

static void
list_streams (ntfs_inode *ni, GPtrArray *names)
{
  g_autoptr (ntfs_attr_search_ctx) ctx = ntfs_attr_get_search_ctx (ni, NULL);
  guint limit = names->len + MAX_STREAMS;

  while (ctx && names->len < limit
         && ntfs_attr_lookup (AT_DATA, NULL, 0, CASE_SENSITIVE, 0, NULL, 0, ctx) == 0)
    {
      const ATTR_RECORD *a = ctx->attr;
      char name[H2K_NTFS_NAME_BYTES];
      guint32 end = le16_to_cpu (a->name_offset) + a->name_length * (guint32)sizeof (ntfschar);
      if (a->name_length == 0 || end > le32_to_cpu (a->length)
          || (a->non_resident && a->lowest_vcn != 0))
        continue;
      h2k_ntfs_to_utf8 ((const ntfschar *)((const guint8 *)a + le16_to_cpu (a->name_offset)),
                        a->name_length, name);
      if (*name && !is_own_stream (name))
        g_ptr_array_add (names, g_strconcat (STREAM_PREFIX, name, NULL));
    }
}

static GBytes *
read_stream (NtfsFs *ntfs, ntfs_inode *ni, const char *path, const char *name, GError **error)
{
  g_autoptr (ntfs_attr) na = NULL;
  g_autofree guint8 *value = NULL;
  NtfsName units;
  s64 size;

  units.n = h2k_ntfs_to_utf16 (name, strlen (name), units.units, H2K_NTFS_MAX_UNITS);
  if (units.n <= 0 || is_own_stream (name))
    return NULL;
  na = ntfs_attr_open (ni, AT_DATA, units.units, (guint32)units.n);
  if (!na)
    {
      if (errno != ENOENT)
        h2k_ntfs_fail (ntfs, error, path, "a stream cannot be opened");
      return NULL;
    }
  size = na->data_size;
  if (size > MAX_VALUE)
    {
      h2k_ntfs_refuse (ntfs, H2K_ERROR_UNSUPPORTED, error, path,
                       "a stream is too large for an extended attribute");
      return NULL;
    }
  value = g_malloc0 ((gsize)MAX (size, 1));
  if (size > 0 && !h2k_ntfs_pread (na, 0, (gsize)size, value))
    {
      h2k_ntfs_fail (ntfs, error, path, "a stream cannot be read");
      return NULL;
    }
  return g_bytes_new_take (g_steal_pointer (&value), (gsize)MAX (size, 0));
}

/* --- the operations --------------------------------------------------------------------------- */

GPtrArray *
h2k_ntfs_list_xattr (H2kFs *fs, const char *path, GError **error)
{
  NtfsFs *ntfs = (NtfsFs *)fs;
  g_autoptr (GPtrArray) names = g_ptr_array_new_with_free_func (g_free);
  g_autoptr (ntfs_inode) ni = NULL;

  h2k_ntfs_begin (ntfs);
  ni = h2k_ntfs_open_path (ntfs, path, error);
  if (!ni)
    return NULL;
  for (gsize i = 0; i < G_N_ELEMENTS (system_names); i++)
    if (system_names[i].number != XATTR_NTFS_REPARSE_DATA || (ni->flags & FILE_ATTR_REPARSE_POINT))
      g_ptr_array_add (names, g_strdup (system_names[i].name));
  list_streams (ni, names);
  return g_steal_pointer (&names);
}

static GBytes *
read_small (NtfsFs *ntfs, ntfs_inode *ni, enum SYSTEMXATTRS number)
{
  char value[64];
  int size = ntfs_xattr_system_getxattr (&ntfs->security, number, ni, NULL, value, sizeof value);

  if (size >= 0 && size <= (int)sizeof value)
    return g_bytes_new (value, (gsize)size);
  errno = size < 0 ? -size : EIO;
  return NULL;
}

GBytes *
h2k_ntfs_get_xattr (H2kFs *fs, const char *path, const char *name, GError **error)
{
  NtfsFs *ntfs = (NtfsFs *)fs;
  enum SYSTEMXATTRS number = find_system_name (name);
  g_autoptr (ntfs_inode) ni = NULL;
  GBytes *value;

  h2k_ntfs_begin (ntfs);
  ni = h2k_ntfs_open_path (ntfs, path, error);
  if (!ni)
    return NULL;
  if (number == XATTR_UNMAPPED)
    return g_str_has_prefix (name, STREAM_PREFIX)
               ? read_stream (ntfs, ni, path, name + strlen (STREAM_PREFIX), error)
               : NULL;
  if (number == XATTR_NTFS_REPARSE_DATA && !(ni->flags & FILE_ATTR_REPARSE_POINT))
    return NULL;
  errno = EIO;
  value = number == XATTR_NTFS_ACL            ? h2k_ntfs_read_descriptor (ni)
          : number == XATTR_NTFS_REPARSE_DATA ? h2k_ntfs_read_reparse (ni)
                                              : read_small (ntfs, ni, number);
  if (!value && !(number == XATTR_NTFS_ACL && errno == ENOENT))
    h2k_ntfs_fail (ntfs, error, path, "an attribute cannot be read");
  return value;
}

gboolean
h2k_ntfs_set_xattr (H2kFs *fs, const char *path, const char *name, GBytes *value, GError **error)
{
  NtfsFs *ntfs = (NtfsFs *)fs;
  enum SYSTEMXATTRS number = find_system_name (name);
  ntfs_inode *ni;
  gsize size = 0;
  const char *bytes = value ? g_bytes_get_data (value, &size) : NULL;
  int result;

  if (!h2k_ntfs_begin_change (ntfs, error))
    return FALSE;
  ni = h2k_ntfs_open_path (ntfs, path, error);
  if (!ni)
    return FALSE;
  if (number == XATTR_UNMAPPED || number == XATTR_NTFS_REPARSE_DATA || !value
      || (number == XATTR_NTFS_ACL && !h2k_ntfs_check_descriptor ((const guint8 *)bytes, size)))
    {
      h2k_ntfs_close (ni);
      return h2k_ntfs_refuse (ntfs, H2K_ERROR_UNSUPPORTED, error, path,
                              "NTFS has no such attribute, or it cannot be set to this");
    }
  errno = EINVAL;
  result = h2k_ntfs_trust_parents (ntfs, ni)
               ? ntfs_xattr_system_setxattr (&ntfs->security, number, ni, NULL, bytes, size, 0)
               : -1;
  if (result != 0)
    h2k_ntfs_fail (ntfs, error, path, "an attribute cannot be set");
  if (!h2k_ntfs_close_file (ni) && result == 0)
    return h2k_ntfs_fail (ntfs, error, path, "an attribute cannot be set");
  return result == 0;
}
