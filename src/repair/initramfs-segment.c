/* initramfs-segment.c - modules with what they need, the guest's module indexes, and the lists by
 * which the programs in an initramfs load drivers, as one archive to be unpacked over the image.
 *
 * The indexes are the guest's own, of all its modules: those that the image lacks do no harm, and
 * udev finds the added ones by their aliases. modules.dep(5), initramfs-tools(7),
 * dracut.cmdline(7), mkinitcpio(8), modules-load.d(5).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/initramfs-segment.h"
#include "repair/payload.h"

#include <sys/stat.h>

#define MAX_INDEX (32u << 20)
#define MAX_MODULE (64u << 20)

static const char *const indexes[] = {
    "modules.alias",       "modules.alias.bin", "modules.builtin", "modules.builtin.alias.bin",
    "modules.builtin.bin", "modules.dep",       "modules.dep.bin", "modules.builtin.modinfo",
    "modules.order",       "modules.softdep",   "modules.symbols", "modules.symbols.bin",
    "modules.devname",     "modules.weakdep",
};

typedef struct
{
  const H2kInitramfsRequest *request;
  char *base;          /* the kernel's module directory in the image */
  GHashTable *present; /* the image's modules */
  GHashTable *written; /* names of members of the archive */
  H2kCpioWriter *writer;
  H2kInitramfsAddition *addition;
} Builder;

void
h2k_initramfs_addition_clear (H2kInitramfsAddition *addition)
{
  g_clear_pointer (&addition->archive, g_bytes_unref);
}

/* --- where things are in the image ------------------------------------------------------------ */

static gboolean
has (const H2kInitramfs *image, const char *name)
{
  g_autofree char *path = h2k_initramfs_resolve (image, name);
  return path && h2k_initramfs_member (image, path);
}

static gboolean
has_any (const H2kInitramfs *image, const char *const *names)
{
  for (; *names; names++)
    if (has (image, *names))
      return TRUE;
  return FALSE;
}

/* The directory that exists, or where it would be looked for. NULL: links go in a circle. */
static char *
module_base (const H2kInitramfs *image, const char *version)
{
  g_autofree char *lib = g_strconcat ("lib/modules/", version, NULL);
  g_autofree char *usr = g_strconcat ("usr/lib/modules/", version, NULL);

  return h2k_initramfs_resolve (image, has (image, usr) && !has (image, lib) ? usr : lib);
}

GHashTable *
h2k_initramfs_modules (const H2kInitramfs *image, const char *version)
{
  GHashTable *modules = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, g_free);
  g_autofree char *base = module_base (image, version);
  g_autofree char *prefix = base ? g_strconcat (base, "/", NULL) : g_strdup ("/");
  GHashTableIter iter;
  const char *name;
  const H2kInitramfsMember *member;

  g_hash_table_iter_init (&iter, image->members);
  while (g_hash_table_iter_next (&iter, (gpointer *)&name, (gpointer *)&member))
    if (g_str_has_prefix (name, prefix) && S_ISREG (member->mode))
      {
        char *module = h2k_module_name (name);
        if (module)
          g_hash_table_insert (modules, module, g_strdup (name));
      }
  return modules;
}

/* --- the archive ------------------------------------------------------------------------------ */

/* Add PATH, in which no component is a link of the image, and the directories that the image does
 * not have: one that it has must not be given again, lest it take the place of a link. */
static void
put (Builder *b, const char *path, guint32 mode, GBytes *content)
{
  for (const char *slash = strchr (path, '/'); slash; slash = strchr (slash + 1, '/'))
    {
      g_autofree char *dir = g_strndup (path, (gsize)(slash - path));
      if (h2k_initramfs_member (b->request->image, dir) || g_hash_table_contains (b->written, dir))
        continue;
      h2k_cpio_writer_add (b->writer, dir, S_IFDIR | 0755, NULL);
      g_hash_table_add (b->written, g_steal_pointer (&dir));
    }
  if (g_hash_table_add (b->written, g_strdup (path)))
    h2k_cpio_writer_add (b->writer, path, mode, content);
}

/* Where the image has NAME, links followed. */
static gboolean
put_text (Builder *b, const char *name, const char *text, GError **error)
{
  g_autofree char *path = h2k_initramfs_resolve (b->request->image, name);
  g_autoptr (GBytes) content = g_bytes_new (text, strlen (text));

  if (!path)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_REPAIR, "its links at \"%s\" go in a circle", name);
      return FALSE;
    }
  put (b, path, S_IFREG | 0644, content);
  return TRUE;
}

/* --- modules ---------------------------------------------------------------------------------- */

static const char *
suffix_of (const char *path)
{
  const char *slash = strrchr (path, '/');
  const char *ko = strstr (slash ? slash : path, ".ko");

  return ko ? ko + 3 : "";
}

/* Whether the image's modprobe is seen to read modules of this compression ("" is none). */
static gboolean
image_reads (const Builder *b, const char *suffix)
{
  GHashTableIter iter;
  const char *path;

  g_hash_table_iter_init (&iter, b->present);
  while (g_hash_table_iter_next (&iter, NULL, (gpointer *)&path))
    if (g_str_equal (suffix_of (path), suffix))
      return TRUE;
  return *suffix == '\0';
}

/* DATA, uncompressed where it is compressed. modprobe (kmod's and busybox's) goes by the content's
 * magic and not by the name, which has to stay what the index says. */
static GBytes *
plain_module (GBytes *data, GError **error)
{
  const H2kPayloadOps *ops = h2k_payload_find (data);

  return ops && ops->open ? h2k_payload_unpack (ops, data, MAX_MODULE, error) : g_bytes_ref (data);
}

static GBytes *
read_module (Builder *b, const char *path, GError **error)
{
  g_autofree char *file = g_build_filename (b->request->kernel->modules_dir, path, NULL);
  g_autoptr (GBytes) data = h2k_tree_read (b->request->tree, file, MAX_MODULE, error);
  GBytes *content = NULL;

  if (data && image_reads (b, suffix_of (path)))
    content = g_bytes_ref (data);
  else if (data)
    content = plain_module (data, error);
  if (!content)
    g_prefix_error (error, "%s: ", file);
  return content;
}

/* The module NAME at the place that the guest's index names: its file, or a link to where the
 * image has it. */
static gboolean
put_module (Builder *b, const char *name, GError **error)
{
  const char *path = g_hash_table_lookup (b->request->modules->paths, name);
  const char *there = g_hash_table_lookup (b->present, name);
  g_autofree char *dest = g_strconcat (b->base, "/", path, NULL);
  g_autofree char *resolved = h2k_initramfs_resolve (b->request->image, dest);
  g_autoptr (GBytes) content = NULL;

  if (!resolved || h2k_initramfs_member (b->request->image, resolved))
    return TRUE;
  if (there)
    {
      g_autofree char *target = g_strconcat ("/", there, NULL);
      content = g_bytes_new (target, strlen (target));
      put (b, resolved, S_IFLNK | 0777, content);
      return TRUE;
    }
  content = read_module (b, path, error);
  if (!content)
    return FALSE;
  put (b, resolved, S_IFREG | 0644, content);
  b->addition->modules++;
  return TRUE;
}

/* The drivers and what they need, and every module of the image that the guest's index has under
 * another name, which after this is the one that is looked for. */
static gboolean
put_modules (Builder *b, GError **error)
{
  g_autoptr (GHashTable) set = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  g_autoptr (GPtrArray) names = NULL;
  g_autoptr (GPtrArray) present = h2k_modules_sorted (b->present);

  for (guint i = 0; i < b->request->drivers->len; i++)
    h2k_modules_closure (b->request->modules, b->request->drivers->pdata[i], set);
  for (guint i = 0; i < present->len; i++)
    if (g_hash_table_contains (b->request->modules->paths, present->pdata[i]))
      g_hash_table_add (set, g_strdup (present->pdata[i]));
  names = h2k_modules_sorted (set);
  for (guint i = 0; i < names->len; i++)
    if (!put_module (b, names->pdata[i], error))
      return FALSE;
  return TRUE;
}

static gboolean
put_indexes (Builder *b, GError **error)
{
  for (guint i = 0; i < G_N_ELEMENTS (indexes); i++)
    {
      g_autofree char *file = g_build_filename (b->request->kernel->modules_dir, indexes[i], NULL);
      g_autofree char *dest = g_strconcat (b->base, "/", indexes[i], NULL);
      g_autoptr (GError) local = NULL;
      g_autoptr (GBytes) data = h2k_tree_read_optional (b->request->tree, file, MAX_INDEX, &local);

      if (local)
        {
          g_propagate_prefixed_error (error, g_steal_pointer (&local), "%s: ", file);
          return FALSE;
        }
      if (data)
        put (b, dest, S_IFREG | 0644, data);
    }
  return TRUE;
}

/* --- load lists ------------------------------------------------------------------------------- */

static char *
join_drivers (Builder *b, const char *separator)
{
  g_autoptr (GPtrArray) words = g_ptr_array_new ();

  for (guint i = 0; i < b->request->drivers->len; i++)
    g_ptr_array_add (words, b->request->drivers->pdata[i]);
  g_ptr_array_add (words, NULL);
  return g_strjoinv (separator, (char **)words->pdata);
}

/* What NAME says in the image, with a line end; NULL and an error when it cannot be kept. */
static char *
old_text (Builder *b, const char *name, GError **error)
{
  g_autofree char *path = h2k_initramfs_resolve (b->request->image, name);
  const H2kInitramfsMember *member = path ? h2k_initramfs_member (b->request->image, path) : NULL;
  gsize size;
  const char *text;

  if (!member)
    return g_strdup ("");
  if (!member->content)
    {
      g_set_error (error, H2K_ERROR, H2K_ERROR_REPAIR, "its file \"%s\" is not what it should be",
                   name);
      return NULL;
    }
  text = g_bytes_get_data (member->content, &size);
  return g_strdup_printf ("%.*s%s", (int)size, text, size && text[size - 1] != '\n' ? "\n" : "");
}

static gboolean
list_initramfs_tools (Builder *b, GError **error)
{
  g_autofree char *old = old_text (b, "conf/modules", error);
  g_autofree char *words = join_drivers (b, "\n");
  g_autofree char *text = g_strconcat (old ? old : "", words, "\n", NULL);
  g_autofree char *resume = g_strdup_printf ("RESUME=%s\n", b->request->resume);

  /* The files of conf.d are sourced in the order of their names: the last one counts. */
  if (b->request->resume && !put_text (b, "conf/conf.d/zzz-hyper2kvm", resume, error))
    return FALSE;
  b->addition->resume = b->request->resume != NULL;
  return old && put_text (b, "conf/modules", text, error);
}

/* The file is a shell script of assignments, sourced before the modules are loaded. */
static gboolean
list_mkinitcpio (Builder *b, GError **error)
{
  g_autofree char *old = old_text (b, "config", error);
  g_autofree char *words = join_drivers (b, " ");
  g_autofree char *text = g_strconcat (old ? old : "", "MODULES=\"$MODULES ", words, "\"\n", NULL);

  return old && put_text (b, "config", text, error);
}

static gboolean
list_dracut (Builder *b, GError **error)
{
  g_autofree char *words = join_drivers (b, ",");
  g_autofree char *text = g_strconcat ("rd.driver.pre=", words, "\n", NULL);

  return put_text (b, "etc/cmdline.d/90-hyper2kvm.conf", text, error);
}

static gboolean
list_systemd (Builder *b, GError **error)
{
  g_autofree char *words = join_drivers (b, "\n");
  g_autofree char *text = g_strconcat (words, "\n", NULL);

  return put_text (b, "usr/lib/modules-load.d/hyper2kvm.conf", text, error);
}

/* Who loads drivers in an image, by files (links are followed) one of which it then has. */
static const struct
{
  const char *name;
  const char *signs[5];
  gboolean known_maker;
  gboolean (*list) (Builder *b, GError **error); /* NULL: the indexes are enough */
} loaders[] = {
    {"initramfs-tools", {"conf/initramfs.conf", "scripts/functions"}, TRUE, list_initramfs_tools},
    {"dracut", {"lib/dracut-lib.sh", "usr/lib/dracut-lib.sh"}, TRUE, list_dracut},
    {"mkinitcpio", {"init_functions"}, TRUE, list_mkinitcpio},
    {"systemd", {"lib/systemd/systemd", "usr/lib/systemd/systemd"}, FALSE, list_systemd},
    {"udev",
     {"lib/systemd/systemd-udevd", "usr/lib/systemd/systemd-udevd", "bin/udevadm", "sbin/udevd"},
     FALSE,
     NULL},
};

static gboolean
put_lists (Builder *b, GError **error)
{
  guint found = 0;

  b->addition->only_by_udev = TRUE;
  for (guint i = 0; i < G_N_ELEMENTS (loaders); i++)
    if (has_any (b->request->image, loaders[i].signs))
      {
        found++;
        if (loaders[i].known_maker)
          b->addition->only_by_udev = FALSE;
        if (loaders[i].list && !loaders[i].list (b, error))
          return FALSE;
      }
  if (found == 0)
    g_set_error (error, H2K_ERROR, H2K_ERROR_REPAIR,
                 "it was made by a program that is not known (not initramfs-tools, dracut or "
                 "mkinitcpio) and has no udev, so that nothing in it would load added drivers");
  return found > 0;
}

/* For people who look into the image. */
static gboolean
put_marker (Builder *b, GError **error)
{
  g_autofree char *words = join_drivers (b, " ");
  g_autofree char *text
      = g_strdup_printf ("hyper2kvm " H2K_VERSION " added drivers for kernel %s: %s\n",
                         b->request->kernel->version, words);

  return put_text (b, "usr/lib/hyper2kvm/initramfs", text, error);
}

gboolean
h2k_initramfs_make_addition (const H2kInitramfsRequest *request, H2kInitramfsAddition *addition,
                             GError **error)
{
  g_autoptr (H2kCpioWriter) writer = h2k_cpio_writer_new ();
  g_autoptr (GHashTable) written = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  g_autoptr (GHashTable) present = h2k_initramfs_modules (request->image, request->kernel->version);
  g_autofree char *base = module_base (request->image, request->kernel->version);
  Builder b = {request, base, present, written, writer, addition};
  gboolean ok = FALSE;

  if (!base)
    g_set_error (error, H2K_ERROR, H2K_ERROR_REPAIR,
                 "the links to its module directory go in a circle");
  else
    ok = put_modules (&b, error) && put_indexes (&b, error) && put_lists (&b, error)
         && put_marker (&b, error);
  if (ok)
    addition->archive = h2k_cpio_writer_finish (writer);
  return ok;
}
