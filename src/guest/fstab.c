/* fstab.c - the lines of fstab(5): six fields with blanks between them, blanks inside of fields
 * written as octal escapes.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "guest/fstab.h"

#define BLANKS " \t"

gboolean
h2k_fstab_field (const char *line, guint n, gsize *start, gsize *length)
{
  const char *p = line + strspn (line, BLANKS);

  if (*p == '#')
    return FALSE;
  while (n-- && *p)
    {
      p += strcspn (p, BLANKS);
      p += strspn (p, BLANKS);
    }
  *start = (gsize)(p - line);
  *length = strcspn (p, BLANKS "\r");
  return *length > 0;
}

static gboolean
is_octal (char c)
{
  return c >= '0' && c <= '7';
}

char *
h2k_fstab_decode (const char *text)
{
  GString *out = g_string_new (NULL);

  while (*text)
    if (text[0] == '\\' && text[1] >= '0' && text[1] <= '3' && is_octal (text[2])
        && is_octal (text[3]) && memcmp (text + 1, "000", 3) != 0)
      {
        g_string_append_c (out,
                           (char)((text[1] - '0') * 64 + (text[2] - '0') * 8 + (text[3] - '0')));
        text += 4;
      }
    else
      g_string_append_c (out, *text++);
  return g_string_free (out, FALSE);
}

static char *
field (const char *line, guint n)
{
  g_autofree char *raw = NULL;
  gsize start, length;

  if (!h2k_fstab_field (line, n, &start, &length))
    return g_strdup ("");
  raw = g_strndup (line + start, length);
  return h2k_fstab_decode (raw);
}

H2kFstabEntry *
h2k_fstab_parse (const char *line)
{
  gsize start, length, ignored;
  H2kFstabEntry *entry;

  if (!h2k_fstab_field (line, 0, &start, &length) || !h2k_fstab_field (line, 1, &ignored, &ignored))
    return NULL;
  entry = g_new0 (H2kFstabEntry, 1);
  entry->spec_start = start;
  entry->spec_length = length;
  entry->spec = field (line, 0);
  entry->path = field (line, 1);
  entry->type = field (line, 2);
  entry->options = field (line, 3);
  return entry;
}

void
h2k_fstab_entry_free (H2kFstabEntry *entry)
{
  if (!entry)
    return;
  g_free (entry->spec);
  g_free (entry->path);
  g_free (entry->type);
  g_free (entry->options);
  g_free (entry);
}

gboolean
h2k_fstab_has_option (const H2kFstabEntry *entry, const char *option)
{
  g_auto (GStrv) options = g_strsplit (entry->options, ",", -1);

  return g_strv_contains ((const char *const *)options, option);
}

gboolean
h2k_fstab_is_bind (const H2kFstabEntry *entry)
{
  return *entry->spec == '/'
         && (h2k_fstab_has_option (entry, "bind") || h2k_fstab_has_option (entry, "rbind"));
}

gboolean
h2k_fstab_is_remote (const H2kFstabEntry *entry)
{
  static const char *const remote[] = {
      "nfs", "nfs4",  "cifs",      "smbfs",  "smb3",   "9p",         "virtiofs", "ceph",
      "afs", "ncpfs", "glusterfs", "vboxsf", "vmhgfs", "fuse.sshfs", "davfs",    "fuse.vmhgfs-fuse",
      NULL,
  };

  return g_strv_contains (remote, entry->type);
}

gboolean
h2k_fstab_is_device (const H2kFstabEntry *entry)
{
  static const char *const made_up[] = {
      "proc",   "sysfs",       "tmpfs",     "devtmpfs", "devpts",     "devfs",  "ramfs",
      "usbfs",  "debugfs",     "tracefs",   "configfs", "bpf",        "nfsd",   "cgroup",
      "zfs",    "rpc_pipefs",  "cgroup2",   "efivarfs", "securityfs", "aufs",   "hugetlbfs",
      "mqueue", "binfmt_misc", "selinuxfs", "autofs",   "overlay",    "pstore", NULL,
  };

  return !g_strv_contains (made_up, entry->type) && !h2k_fstab_is_remote (entry)
         && !h2k_fstab_is_bind (entry)
         && (g_str_has_prefix (entry->spec, "/dev/") || strchr (entry->spec, '='));
}
