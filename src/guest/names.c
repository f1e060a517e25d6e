/* names.c - which volume a device name in the guest's files means.
 *
 * Names follow the kernel's devices.txt and systemd's udev rules (60-persistent-storage.rules).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "guest/private.h"

#define NO_DISK G_MAXUINT

/* --- names that say what is on the volume ----------------------------------------------------- */

typedef const char *(*TagFunc) (const H2kGuestVolume *volume);

static const char *
tag_uuid (const H2kGuestVolume *volume)
{
  return volume->id.uuid;
}

static const char *
tag_label (const H2kGuestVolume *volume)
{
  return volume->id.label;
}

static const char *
tag_part_uuid (const H2kGuestVolume *volume)
{
  return volume->volume->part_uuid;
}

static const char *
tag_part_label (const H2kGuestVolume *volume)
{
  return volume->volume->part_label;
}

static const struct
{
  const char *tag;    /* in fstab and on the kernel's command line */
  const char *prefix; /* udev's links */
  TagFunc get;
  gboolean any_case;
} tags[] = {
    {"UUID=", "/dev/disk/by-uuid/", tag_uuid, TRUE},
    {"LABEL=", "/dev/disk/by-label/", tag_label, FALSE},
    {"PARTUUID=", "/dev/disk/by-partuuid/", tag_part_uuid, TRUE},
    {"PARTLABEL=", "/dev/disk/by-partlabel/", tag_part_label, FALSE},
};

/* udev writes what may not stand in a file name as \xNN. */
static char *
decode_link (const char *text)
{
  GString *out = g_string_new (NULL);

  for (; *text; text++)
    if (text[0] == '\\' && text[1] == 'x' && g_ascii_isxdigit (text[2])
        && g_ascii_isxdigit (text[3]) && strncmp (text + 2, "00", 2) != 0)
      {
        g_string_append_c (out, (char)(g_ascii_xdigit_value (text[2]) * 16
                                       + g_ascii_xdigit_value (text[3])));
        text += 3;
      }
    else
      g_string_append_c (out, *text);
  return g_string_free (out, FALSE);
}

/* What a device of a filesystem on several of them is one of; anything else is itself. */
static H2kGuestVolume *
whole_of (H2kGuest *guest, H2kGuestVolume *volume)
{
  for (guint i = 0; volume && volume->node->is_member && i < guest->volumes->len; i++)
    {
      H2kGuestVolume *other = g_ptr_array_index (guest->volumes, i);
      if (other->node->kind == H2K_NODE_BTRFS && strcmp (volume->id.type, "btrfs") == 0
          && strcmp (volume->id.uuid, other->node->uuid) == 0)
        return other;
    }
  return volume;
}

static gboolean
has_tag (const H2kGuestVolume *volume, guint kind, const char *value)
{
  const char *own = tags[kind].get (volume);

  return own && (tags[kind].any_case ? g_ascii_strcasecmp (own, value) : strcmp (own, value)) == 0;
}

/* Whether VOLUME has its tag from what it is a snapshot of. */
static gboolean
is_copy (const H2kGuest *guest, const H2kGuestVolume *volume, guint kind, const char *value)
{
  for (guint i = 0; volume->node->origin && i < guest->volumes->len; i++)
    {
      const H2kGuestVolume *other = g_ptr_array_index (guest->volumes, i);
      if (h2k_node_is_snapshot_of (volume->node, other->node) && has_tag (other, kind, value))
        return TRUE;
    }
  return FALSE;
}

/* The one volume with this tag, snapshots aside. Of several (a clone of a disk is attached) the one
 * on the root's disk, when there it is the only one. */
static H2kGuestVolume *
find_by_tag (H2kGuest *guest, guint kind, const char *value)
{
  g_autofree char *safe = h2k_escape_text (value, -1);
  H2kGuestVolume *found = NULL, *near = NULL;
  guint n = 0, n_near = 0;

  for (guint i = 0; *value && i < guest->volumes->len; i++)
    {
      H2kGuestVolume *volume = g_ptr_array_index (guest->volumes, i);
      const H2kGuestVolume *whole = whole_of (guest, volume);

      if (!has_tag (volume, kind, safe) || is_copy (guest, volume, kind, safe))
        continue;
      if (whole != volume && has_tag (whole, kind, safe))
        continue;
      found = volume;
      n++;
      if (guest->root && volume->disk == guest->root->disk)
        {
          near = volume;
          n_near++;
        }
    }
  return n == 1 ? found : n_near == 1 ? near : NULL;
}

/* --- names that say where the volume is ------------------------------------------------------- */

static H2kGuestVolume *
find_by_number (H2kGuest *guest, guint disk, guint number)
{
  for (guint i = 0; i < guest->volumes->len; i++)
    {
      H2kGuestVolume *volume = g_ptr_array_index (guest->volumes, i);
      if (volume->disk == disk && volume->volume->number == number && volume->node->depth == 0)
        return volume;
    }
  return NULL;
}

/* A decimal number without sign at *P, at most 9999. */
static gboolean
take_number (const char **p, guint *n)
{
  const char *start = *p;

  for (*n = 0; g_ascii_isdigit (**p) && *p - start < 4; (*p)++)
    *n = *n * 10 + (guint)(**p - '0');
  return *p > start && !g_ascii_isdigit (**p);
}

/* "a" is 0, "z" 25, "aa" 26. */
static gboolean
take_letters (const char **p, guint *n)
{
  const char *start = *p;

  for (*n = 0; g_ascii_islower (**p) && *p - start < 3; (*p)++)
    *n = *n * 26 + (guint)(**p - 'a') + 1;
  if (*p == start)
    return FALSE;
  (*n)--;
  return TRUE;
}

/* "sdb3": disk 1, partition 3; "sdb": partition 0. */
static gboolean
parse_lettered (const char *name, guint *disk, guint *number)
{
  static const char *const prefixes[] = {"sd", "hd", "vd", "xvd", "ubd"};

  for (guint i = 0; i < G_N_ELEMENTS (prefixes); i++)
    {
      const char *p = name + strlen (prefixes[i]);

      if (!g_str_has_prefix (name, prefixes[i]) || !take_letters (&p, disk))
        continue;
      *number = 0;
      return !*p || (take_number (&p, number) && !*p && *number > 0);
    }
  return FALSE;
}

/* "nvme1n1p3", "mmcblk0p1": disk 1, partition 3. Namespaces other than the first do not count
 * disks in an order we know. */
static gboolean
parse_numbered (const char *name, guint *disk, guint *number)
{
  const char *p = name;
  guint namespace = 1;

  if (g_str_has_prefix (p, "nvme"))
    {
      p += 4;
      if (!take_number (&p, disk) || *p++ != 'n' || !take_number (&p, &namespace))
        return FALSE;
    }
  else if (g_str_has_prefix (p, "mmcblk"))
    {
      p += 6;
      if (!take_number (&p, disk))
        return FALSE;
    }
  else
    return FALSE;
  if (namespace != 1)
    *disk = NO_DISK;
  *number = 0;
  return !*p || (*p++ == 'p' && take_number (&p, number) && !*p && *number > 0);
}

static gboolean
parse_position (const char *name, guint *disk, guint *number)
{
  const char *base = g_str_has_prefix (name, "/dev/") ? name + 5 : name;

  return parse_lettered (base, disk, number) || parse_numbered (base, disk, number);
}

/* "/dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:0:0-part1": with one disk only the partition's
 * number matters; with several nobody knows what the controller's addresses were. */
static gboolean
parse_link (H2kGuest *guest, const char *spec, guint *disk, guint *number)
{
  static const char *const prefixes[] = {"/dev/disk/by-path/", "/dev/disk/by-id/"};
  const char *part;

  for (guint i = 0; i < G_N_ELEMENTS (prefixes); i++)
    {
      const char *name = spec + strlen (prefixes[i]);

      if (!g_str_has_prefix (spec, prefixes[i]) || g_str_has_prefix (name, "dm-")
          || g_str_has_prefix (name, "md-") || g_str_has_prefix (name, "lvm-"))
        continue;
      part = g_strrstr (name, "-part");
      *number = 0;
      *disk = guest->disks->len == 1 ? 0 : NO_DISK;
      if (part)
        {
          part += 5;
          if (!take_number (&part, number) || *part)
            *disk = NO_DISK;
        }
      return TRUE;
    }
  return FALSE;
}

/* The disk that the guest calls its Nth. The root's name in its fstab counts disks, too: a system
 * that was on sdb when it was installed, or whose first disk was not given, says so there. */
static guint
actual_disk (H2kGuest *guest, guint n)
{
  guint disk, number;

  if (!guest->root || !guest->root->spec || n == NO_DISK)
    return n;
  if (!parse_position (guest->root->spec, &disk, &number) || number != guest->root->volume->number
      || disk == guest->root->disk)
    return n;
  return n == disk ? guest->root->disk : n == guest->root->disk ? disk : n;
}

/* --- names of what partitions make up -----------------------------------------------------------
 */

static H2kGuestVolume *
find_made (H2kGuest *guest, const char *name)
{
  const H2kNode *node = h2k_stack_find (guest->stack, name);

  for (guint i = 0; node && i < guest->volumes->len; i++)
    {
      H2kGuestVolume *volume = g_ptr_array_index (guest->volumes, i);
      if (volume->node == node && node->depth > 0)
        return volume;
    }
  return NULL;
}

/* --- all of them -------------------------------------------------------------------------------
 */

/* Quotes around the whole or around a tag's value go. */
static char *
unquote (const char *spec)
{
  char *text = g_strdup (spec), *out = text;

  g_strstrip (text);
  for (const char *p = text; *p; p++)
    if (*p != '"' && *p != '\'')
      *out++ = *p;
  *out = '\0';
  return text;
}

static H2kGuestVolume *
find_volume (H2kGuest *guest, const char *spec, gboolean *stable)
{
  g_autofree char *name = unquote (spec);
  guint disk, number;

  *stable = TRUE;
  for (guint i = 0; i < G_N_ELEMENTS (tags); i++)
    {
      if (g_str_has_prefix (name, tags[i].tag))
        return find_by_tag (guest, i, name + strlen (tags[i].tag));
      if (g_str_has_prefix (name, tags[i].prefix))
        {
          g_autofree char *value = decode_link (name + strlen (tags[i].prefix));
          return find_by_tag (guest, i, value);
        }
    }
  *stable = FALSE;
  if (parse_position (name, &disk, &number))
    return find_by_number (guest, actual_disk (guest, disk), number);
  if (parse_link (guest, name, &disk, &number))
    return find_by_number (guest, disk, number);
  *stable = TRUE;
  return find_made (guest, name);
}

H2kGuestVolume *
h2k_guest_find_volume (H2kGuest *guest, const char *spec, gboolean *stable)
{
  gboolean ignored;

  return whole_of (guest, find_volume (guest, spec, stable ? stable : &ignored));
}
