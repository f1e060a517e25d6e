/* kernels.c - the kernels that are installed: modules, images and initramfs of each.
 *
 * Names are those of Debian, Red Hat, SUSE, Arch and Alpine, and of boot loader entries
 * (uapi-group.org, Boot Loader Specification, type 1).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "guest/private.h"

#define MAX_KERNELS 256
#define MAX_ENTRY (64 * 1024)

int
h2k_version_compare (const char *a, const char *b)
{
  while (*a || *b)
    {
      gsize da = strspn (a, "0123456789"), db = strspn (b, "0123456789");

      if (da && db)
        {
          gsize za = strspn (a, "0"), zb = strspn (b, "0");
          int diff;

          za = MIN (za, da);
          zb = MIN (zb, db);
          if (da - za != db - zb)
            return da - za < db - zb ? -1 : 1;
          diff = memcmp (a + za, b + zb, da - za);
          if (diff)
            return diff < 0 ? -1 : 1;
          a += da;
          b += db;
        }
      else if (*a != *b)
        return (guchar)*a < (guchar)*b ? -1 : 1;
      else
        {
          a++;
          b++;
        }
    }
  return 0;
}

/* The newest first; rescue images, which are old by nature, last. */
static int
compare_kernels (gconstpointer a, gconstpointer b)
{
  const H2kKernel *x = *(H2kKernel *const *)a, *y = *(H2kKernel *const *)b;
  gboolean rescue_x = g_str_has_prefix (x->version, "0-rescue");
  gboolean rescue_y = g_str_has_prefix (y->version, "0-rescue");

  if (rescue_x != rescue_y)
    return rescue_x ? 1 : -1;
  return -h2k_version_compare (x->version, y->version);
}

static H2kKernel *
kernel_named (H2kGuest *guest, const char *version)
{
  H2kKernel *kernel;

  for (guint i = 0; i < guest->kernels->len; i++)
    {
      kernel = g_ptr_array_index (guest->kernels, i);
      if (strcmp (kernel->version, version) == 0)
        return kernel;
    }
  if (guest->kernels->len >= MAX_KERNELS)
    return NULL;
  kernel = g_new0 (H2kKernel, 1);
  kernel->version = g_strdup (version);
  g_ptr_array_add (guest->kernels, kernel);
  return kernel;
}

static char *
text_file (H2kTree *tree, const char *path)
{
  g_autoptr (GBytes) data = h2k_tree_read_optional (tree, path, MAX_ENTRY, NULL);

  return data ? g_strndup (g_bytes_get_data (data, NULL), g_bytes_get_size (data)) : NULL;
}

/* --- modules ---------------------------------------------------------------------------------- */

static void
add_modules (H2kGuest *guest, const char *parent)
{
  g_autoptr (GPtrArray) names = h2k_tree_list (guest->tree, parent);

  for (guint i = 0; i < names->len; i++)
    {
      const char *name = g_ptr_array_index (names, i);
      g_autofree char *dir = g_strconcat (parent, "/", name, NULL);
      g_autofree char *kernel_dir = g_strconcat (dir, "/kernel", NULL);
      g_autofree char *dep = g_strconcat (dir, "/modules.dep", NULL);
      H2kKernel *kernel;

      /* Removed kernels leave directories behind that hold an index at most. */
      if (!h2k_tree_is_dir (guest->tree, kernel_dir) && !h2k_tree_is_file (guest->tree, dep))
        continue;
      kernel = kernel_named (guest, name);
      if (kernel && !kernel->modules_dir)
        kernel->modules_dir = h2k_tree_resolve (guest->tree, dir, FALSE);
    }
}

/* --- images ----------------------------------------------------------------------------------- */

/* Arch and Alpine name the image by the package ("vmlinuz-linux", "vmlinuz-lts"): the modules say
 * which version that is. */
static H2kKernel *
kernel_of_package (H2kGuest *guest, const char *package)
{
  g_autofree char *suffix = g_strconcat ("-", package, NULL);
  H2kKernel *found = NULL;

  for (guint i = 0; i < guest->kernels->len; i++)
    {
      H2kKernel *kernel = g_ptr_array_index (guest->kernels, i);
      g_autofree char *path
          = g_strconcat (kernel->modules_dir ? kernel->modules_dir : "", "/pkgbase", NULL);
      g_autofree char *base = kernel->modules_dir ? text_file (guest->tree, path) : NULL;

      if (base && strcmp (g_strstrip (base), package) == 0)
        return kernel;
      if (!base && kernel->modules_dir && g_str_has_suffix (kernel->version, suffix))
        found = kernel;
    }
  return found;
}

/* Other generators put words of their own before the version ("initramfs-genkernel-x86_64-V"). */
static char *
find_by_suffix (H2kTree *tree, const char *version)
{
  g_autoptr (GPtrArray) names = h2k_tree_glob (tree, "/boot/init*");
  g_autofree char *plain = g_strconcat ("-", version, NULL);
  g_autofree char *img = g_strconcat (plain, ".img", NULL);

  for (guint i = 0; i < names->len; i++)
    if (g_str_has_suffix (names->pdata[i], plain) || g_str_has_suffix (names->pdata[i], img))
      return h2k_tree_is_file (tree, names->pdata[i]) ? g_strdup (names->pdata[i]) : NULL;
  return NULL;
}

static char *
find_initramfs (H2kTree *tree, const char *version)
{
  static const char *const names[]
      = {"/boot/initrd.img-%s", "/boot/initramfs-%s.img", "/boot/initrd-%s", "/boot/initrd-%s.img",
         "/boot/initramfs-%s"};

  for (guint i = 0; i < G_N_ELEMENTS (names); i++)
    {
      g_auto (GStrv) parts = g_strsplit (names[i], "%s", 2);
      g_autofree char *path = g_strconcat (parts[0], version, parts[1], NULL);

      if (h2k_tree_is_file (tree, path))
        return g_steal_pointer (&path);
    }
  return find_by_suffix (tree, version);
}

static gboolean
is_backup (const char *name)
{
  static const char *const suffixes[]
      = {".old",    ".bak",      ".gz",       ".xz",       ".hmac",       ".sig", ".rpmsave",
         ".rpmnew", ".dpkg-tmp", ".dpkg-bak", ".dpkg-new", ".efi.signed", "~"};

  for (guint i = 0; i < G_N_ELEMENTS (suffixes); i++)
    if (g_str_has_suffix (name, suffixes[i]))
      return TRUE;
  return FALSE;
}

static void
add_image (H2kGuest *guest, const char *name)
{
  static const char *const prefixes[] = {"vmlinuz-", "vmlinux-", "kernel-", "Image-", "image-"};
  g_autofree char *path = g_strconcat ("/boot/", name, NULL);

  for (guint i = 0; i < G_N_ELEMENTS (prefixes); i++)
    {
      const char *version = name + strlen (prefixes[i]);
      H2kKernel *kernel = NULL;

      if (!g_str_has_prefix (name, prefixes[i]) || !*version || is_backup (name)
          || !h2k_tree_is_file (guest->tree, path))
        continue;
      if (!g_ascii_isdigit (*version))
        kernel = kernel_of_package (guest, version);
      if (!kernel)
        kernel = kernel_named (guest, version);
      if (!kernel)
        return;
      if (!kernel->image)
        kernel->image = g_strdup (path);
      if (!kernel->initramfs)
        kernel->initramfs = find_initramfs (guest->tree, version);
      return;
    }
}

/* --- boot loader entries ---------------------------------------------------------------------- */

/* The guest path of a file that an entry names: relative to the filesystem that the entries are
 * on, which is /boot or the root. */
static char *
entry_path (H2kTree *tree, const char *value)
{
  static const char *const tops[] = {"/boot", "/efi", "/boot/efi", ""};
  g_auto (GStrv) words = g_strsplit_set (value, " \t", -1);

  if (!words[0])
    return NULL;
  for (guint i = 0; i < G_N_ELEMENTS (tops); i++)
    {
      g_autofree char *path = g_strconcat (tops[i], "/", words[0], NULL);
      g_autofree char *found = h2k_tree_resolve (tree, path, TRUE);

      if (found && h2k_tree_is_file (tree, found))
        return g_steal_pointer (&found);
    }
  return NULL;
}

/* "/boot/vmlinuz-5.10" gives "5.10", "/MACHINE/5.10/linux" too. */
static char *
version_of_path (const char *path)
{
  g_autofree char *base = g_path_get_basename (path);
  g_autofree char *dir = g_path_get_dirname (path);
  const char *dash = strchr (base, '-');

  return dash && g_str_has_prefix (base, "vmlinu") ? g_strdup (dash + 1)
                                                   : g_path_get_basename (dir);
}

static H2kKernel *
kernel_with_image (H2kGuest *guest, const char *image)
{
  for (guint i = 0; i < guest->kernels->len; i++)
    {
      H2kKernel *kernel = g_ptr_array_index (guest->kernels, i);
      if (g_strcmp0 (kernel->image, image) == 0)
        return kernel;
    }
  return NULL;
}

static void
add_entry (H2kGuest *guest, const char *path)
{
  g_autofree char *text = text_file (guest->tree, path);
  g_auto (GStrv) lines = g_strsplit (text ? text : "", "\n", 1024);
  g_autofree char *image = NULL, *initramfs = NULL, *version = NULL;
  H2kKernel *kernel;

  for (guint i = 0; lines[i]; i++)
    {
      char *value = g_strstrip (lines[i]);
      gsize n = strcspn (value, " \t");
      char *end = value + n + strspn (value + n, " \t");
      char **slot = NULL;

      if (n == 5 && strncmp (value, "linux", n) == 0)
        slot = &image;
      else if (n == 6 && strncmp (value, "initrd", n) == 0)
        slot = &initramfs; /* the last one: microcode comes first */
      if (!slot)
        continue;
      g_free (*slot);
      *slot = entry_path (guest->tree, end);
    }
  if (!image)
    return;
  version = version_of_path (image);
  kernel = kernel_with_image (guest, image);
  if (!kernel && !g_ascii_isdigit (*version))
    kernel = kernel_of_package (guest, version);
  if (!kernel)
    kernel = kernel_named (guest, version);
  if (!kernel)
    return;
  if (!kernel->image)
    kernel->image = g_steal_pointer (&image);
  if (!kernel->initramfs)
    kernel->initramfs = g_steal_pointer (&initramfs);
}

void
h2k_guest_find_kernels (H2kGuest *guest)
{
  static const char *const entry_files[]
      = {"/boot/loader/entries/*.conf", "/boot/efi/loader/entries/*.conf",
         "/efi/loader/entries/*.conf"};
  g_autoptr (GPtrArray) boot = h2k_tree_list (guest->tree, "/boot");

  add_modules (guest, "/lib/modules");
  add_modules (guest, "/usr/lib/modules");
  for (guint i = 0; i < boot->len; i++)
    add_image (guest, g_ptr_array_index (boot, i));
  for (guint i = 0; i < G_N_ELEMENTS (entry_files); i++)
    {
      g_autoptr (GPtrArray) entries = h2k_tree_glob (guest->tree, entry_files[i]);
      for (guint k = 0; k < entries->len; k++)
        add_entry (guest, g_ptr_array_index (entries, k));
    }
  g_ptr_array_sort (guest->kernels, compare_kernels);
}
