/* block.c - the block devices of a host from sysfs, their mounts and swap from /proc.
 *
 * Documentation/ABI/testing/sysfs-block; proc(5) for mountinfo and swaps.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "source/block.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define ATTRIBUTE_MAX (64u << 10)

/* --- attributes ------------------------------------------------------------------------------- */

char *
h2k_block_attribute (const char *dir, const char *name)
{
  g_autofree char *path = g_build_filename (dir, name, NULL), *text = NULL;
  gsize length;

  if (!g_file_get_contents (path, &text, &length, NULL) || length > ATTRIBUTE_MAX)
    return NULL;
  g_strstrip (text);
  return *text ? g_steal_pointer (&text) : NULL;
}

guint64
h2k_block_number (const char *dir, const char *name, guint64 otherwise)
{
  g_autofree char *text = h2k_block_attribute (dir, name);
  guint64 value;

  return text && g_ascii_string_to_unsigned (text, 10, 0, G_MAXUINT64, &value, NULL) ? value
                                                                                     : otherwise;
}

/* "8:1"; 0: it is none. */
static dev_t
parse_dev (const char *text)
{
  char *end;
  guint64 major, minor;

  if (!text || !g_ascii_isdigit (*text))
    return 0;
  major = g_ascii_strtoull (text, &end, 10);
  if (*end != ':' || !g_ascii_isdigit (end[1]))
    return 0;
  minor = g_ascii_strtoull (end + 1, &end, 10);
  return major < 4096 && minor < (1u << 20) ? makedev ((guint)major, (guint)minor) : 0;
}

char *
h2k_block_path (const BlockNode *node)
{
  g_autofree char *name = g_strdelimit (g_strdup (node->name), "!", '/');

  return g_strconcat ("/dev/", name, NULL);
}

/* --- the devices ------------------------------------------------------------------------------ */

static void
node_free (BlockNode *node)
{
  g_free (node->name);
  g_free (node->dir);
  g_free (node->dm_name);
  g_free (node->dm_uuid);
  g_ptr_array_unref (node->parts);
  g_ptr_array_unref (node->holders);
  g_ptr_array_unref (node->slaves);
  g_ptr_array_unref (node->mounts);
  g_free (node);
}

static BlockNode *
add_node (BlockHost *host, const char *dir, const char *name)
{
  g_autofree char *dev = h2k_block_attribute (dir, "dev"), *dm = g_build_filename (dir, "dm", NULL);
  dev_t number = parse_dev (dev);
  BlockNode *node;

  if (!number || h2k_block_find_dev (host, number))
    return NULL;
  node = g_new0 (BlockNode, 1);
  node->name = g_strdup (name);
  node->dir = g_strdup (dir);
  node->dev = number;
  node->parts = g_ptr_array_new ();
  node->holders = g_ptr_array_new ();
  node->slaves = g_ptr_array_new ();
  node->mounts = g_ptr_array_new_with_free_func (g_free);
  node->dm_name = h2k_block_attribute (dm, "name");
  node->dm_uuid = h2k_block_attribute (dm, "uuid");
  g_ptr_array_add (host->nodes, node);
  g_hash_table_insert (host->by_name, node->name, node);
  g_hash_table_insert (host->by_dev, g_memdup2 (&(guint64){number}, sizeof (guint64)), node);
  return node;
}

static int
by_number (gconstpointer a, gconstpointer b)
{
  const BlockNode *left = *(BlockNode *const *)a, *right = *(BlockNode *const *)b;

  return (left->partition > right->partition) - (left->partition < right->partition);
}

/* A partition is a folder in its disk's, and its name begins with the disk's. */
static void
add_partitions (BlockHost *host, BlockNode *disk)
{
  g_autoptr (GDir) dir = g_dir_open (disk->dir, 0, NULL);
  const char *name;

  while (dir && (name = g_dir_read_name (dir)))
    {
      g_autofree char *path = g_build_filename (disk->dir, name, NULL);
      guint64 number;
      BlockNode *node;
      if (!g_str_has_prefix (name, disk->name))
        continue;
      number = h2k_block_number (path, "partition", 0);
      if (number == 0 || number > G_MAXINT || !(node = add_node (host, path, name)))
        continue;
      node->partition = (guint)number;
      node->whole = disk;
      g_ptr_array_add (disk->parts, node);
    }
  g_ptr_array_sort (disk->parts, by_number);
}

static gboolean
add_disks (BlockHost *host, GError **error)
{
  g_autofree char *block = g_strconcat (host->root, "/sys/block", NULL);
  g_autoptr (GError) local = NULL;
  g_autoptr (GDir) dir = g_dir_open (block, 0, &local);
  const char *name;

  if (!dir)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_SOURCE,
                   "%s cannot be read, so it is not known which disks are attached: %s; mount "
                   "sysfs, or name the disks",
                   block, local->message);
      return FALSE;
    }
  while ((name = g_dir_read_name (dir)))
    {
      g_autofree char *path = g_build_filename (block, name, NULL);
      BlockNode *disk = add_node (host, path, name);
      if (disk)
        add_partitions (host, disk);
    }
  return TRUE;
}

BlockNode *
h2k_block_find_dev (const BlockHost *host, dev_t dev)
{
  guint64 key = dev;

  return g_hash_table_lookup (host->by_dev, &key);
}

/* --- what lies on what ------------------------------------------------------------------------ */

static void
link_nodes (BlockNode *below, BlockNode *above)
{
  if (below == above || g_ptr_array_find (below->holders, above, NULL))
    return;
  g_ptr_array_add (below->holders, above);
  g_ptr_array_add (above->slaves, below);
}

/* The device that PATH of the host is, by its number, else by its name. */
static BlockNode *
find_path (const BlockHost *host, const char *path)
{
  g_autofree char *full = g_strconcat (host->root, path, NULL), *name = NULL;
  struct stat st;

  if (!g_str_has_prefix (path, "/dev/"))
    return NULL;
  if (stat (full, &st) == 0 && S_ISBLK (st.st_mode))
    return h2k_block_find_dev (host, st.st_rdev);
  name = g_strdelimit (g_strdup (path + strlen ("/dev/")), "/", '!');
  return g_hash_table_lookup (host->by_name, name);
}

static int
by_name (gconstpointer a, gconstpointer b)
{
  return strcmp ((*(BlockNode *const *)a)->name, (*(BlockNode *const *)b)->name);
}

static void
find_holders (BlockHost *host)
{
  for (guint i = 0; i < host->nodes->len; i++)
    {
      BlockNode *node = host->nodes->pdata[i], *other;
      g_autofree char *path = g_build_filename (node->dir, "holders", NULL);
      g_autofree char *loop = g_build_filename (node->dir, "loop", NULL);
      g_autofree char *file = h2k_block_attribute (loop, "backing_file");
      g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
      const char *name;
      while (dir && (name = g_dir_read_name (dir)))
        if ((other = g_hash_table_lookup (host->by_name, name)))
          link_nodes (node, other);
      /* A loop device on a block device is not among its holders. */
      if (file && (other = find_path (host, file)))
        link_nodes (other, node);
    }
  for (guint i = 0; i < host->nodes->len; i++)
    g_ptr_array_sort (((BlockNode *)host->nodes->pdata[i])->holders, by_name);
}

/* --- mounts and swap -------------------------------------------------------------------------- */

/* The octal numbers that the kernel writes for blanks in names. */
static char *
plain_name (const char *text)
{
  g_autofree char *plain = g_strdup (text);
  char *to = plain;

  for (const char *p = text; *p; to++)
    if (p[0] == '\\' && p[1] >= '0' && p[1] <= '3' && p[2] >= '0' && p[2] <= '7' && p[3] >= '0'
        && p[3] <= '7')
      {
        *to = (char)((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0'));
        p += 4;
      }
    else
      *to = *p++;
  *to = 0;
  return g_steal_pointer (&plain);
}

static void
add_mount (BlockNode *node, const char *escaped)
{
  g_autofree char *plain = plain_name (escaped), *safe = h2k_escape_text (plain, -1);

  if (!g_ptr_array_find_with_equal_func (node->mounts, safe, g_str_equal, NULL))
    g_ptr_array_add (node->mounts, g_steal_pointer (&safe));
}

/* "36 35 8:1 / /mnt rw,noatime master:1 - ext3 /dev/sda1 rw". Filesystems on several devices have
 * a number of their own: their source is looked at instead. */
static void
read_mount (BlockHost *host, char *line)
{
  g_auto (GStrv) words = g_strsplit (line, " ", -1);
  guint count = g_strv_length (words), dash = 6;
  g_autofree char *source = NULL;
  BlockNode *node;

  while (dash < count && !g_str_equal (words[dash], "-"))
    dash++;
  if (dash + 2 >= count)
    return;
  node = h2k_block_find_dev (host, parse_dev (words[2]));
  source = plain_name (words[dash + 2]);
  if (!node)
    node = find_path (host, source);
  if (node)
    add_mount (node, words[4]);
}

static void
read_mounts (BlockHost *host)
{
  g_autofree char *path = g_strconcat (host->root, "/proc/self/mountinfo", NULL), *text = NULL;
  g_auto (GStrv) lines = NULL;

  if (!g_file_get_contents (path, &text, NULL, NULL))
    return;
  lines = g_strsplit (text, "\n", -1);
  for (char **line = lines; *line; line++)
    read_mount (host, *line);
}

/* The devices of one btrfs share its mounts, which name one of them. */
static void
share_mounts (BlockHost *host, const char *path)
{
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  g_autoptr (GPtrArray) devices = g_ptr_array_new ();
  const char *name;
  BlockNode *node;

  while (dir && (name = g_dir_read_name (dir)))
    if ((node = g_hash_table_lookup (host->by_name, name)))
      g_ptr_array_add (devices, node);
  for (guint i = 0; i < devices->len; i++)
    for (guint j = 0; j < devices->len; j++)
      {
        BlockNode *from = devices->pdata[i], *to = devices->pdata[j];
        for (guint k = 0; from != to && k < from->mounts->len; k++)
          if (!g_ptr_array_find_with_equal_func (to->mounts, from->mounts->pdata[k], g_str_equal,
                                                 NULL))
            g_ptr_array_add (to->mounts, g_strdup (from->mounts->pdata[k]));
      }
}

static void
read_btrfs (BlockHost *host)
{
  g_autofree char *path = g_strconcat (host->root, "/sys/fs/btrfs", NULL);
  g_autoptr (GDir) dir = g_dir_open (path, 0, NULL);
  const char *name;

  while (dir && (name = g_dir_read_name (dir)))
    {
      g_autofree char *devices = g_build_filename (path, name, "devices", NULL);
      share_mounts (host, devices);
    }
}

/* "/dev/sda2 partition 999420 0 -2" below a line of headings. */
static void
read_swaps (BlockHost *host)
{
  g_autofree char *path = g_strconcat (host->root, "/proc/swaps", NULL), *text = NULL;
  g_auto (GStrv) lines = NULL;

  if (!g_file_get_contents (path, &text, NULL, NULL))
    return;
  lines = g_strsplit (text, "\n", -1);
  for (char **line = lines; *line; line++)
    {
      g_auto (GStrv) words = g_strsplit_set (*line, " \t", 2);
      g_autofree char *name = words[0] ? plain_name (words[0]) : NULL;
      BlockNode *node = name ? find_path (host, name) : NULL;
      if (node)
        node->is_swap = TRUE;
    }
}

BlockHost *
h2k_block_host_new (const char *root, GError **error)
{
  g_autoptr (BlockHost) host = g_new0 (BlockHost, 1);

  host->root = g_strdup (root);
  host->nodes = g_ptr_array_new_with_free_func ((GDestroyNotify)node_free);
  host->by_name = g_hash_table_new (g_str_hash, g_str_equal);
  host->by_dev = g_hash_table_new_full (g_int64_hash, g_int64_equal, g_free, NULL);
  if (!add_disks (host, error))
    return NULL;
  find_holders (host);
  read_mounts (host);
  read_btrfs (host);
  read_swaps (host);
  return g_steal_pointer (&host);
}

void
h2k_block_host_free (BlockHost *host)
{
  if (!host)
    return;
  g_hash_table_unref (host->by_name);
  g_hash_table_unref (host->by_dev);
  g_ptr_array_unref (host->nodes);
  g_free (host->root);
  g_free (host);
}
