/* test-fat.c - files of FAT12, FAT16 and FAT32: what is read and written is what mtools sees, and
 * fsck.fat has nothing to complain about.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "images.h"

#include "fs/fat-table.h"
#include "fs/usage.h"

#include <sys/stat.h>

typedef struct
{
  const char *options;
  guint64 size;
} Config;

static const Config configs[] = {
    {"-F 12", 1440u << 10},
    {"-F 12 -s 8 -f 1", 8u << 20},
    {"-F 12 -S 2048 -s 2", 12u << 20},
    {"-F 16 -s 1", 20u << 20},
    {"-F 16 -s 16 -f 2 -r 512", 80u << 20},
    {"-F 16 -S 4096 -s 1", 40u << 20},
    {"-F 32 -s 1", 36u << 20},
    {"-F 32 -S 1024 -s 1", 72u << 20},
    {"-F 32 -S 2048 -s 1", 140u << 20},
};

static gboolean
have_tools (void)
{
  gboolean have = image_have ("mkfs.fat") && image_have ("mcopy") && image_have ("fsck.fat");

  g_setenv ("MTOOLS_SKIP_CHECK", "1", TRUE);
  g_setenv ("LC_ALL", "C.UTF-8", TRUE);
  return have;
}

/* "@/image", with junk where nothing was written. */
static void
make_image (const char *options, guint64 size)
{
  g_autoptr (H2kDisk) disk = h2k_memory_disk_new (size);
  g_autofree guint8 *junk = g_malloc (65536);

  memset (junk, 0xa5, 65536);
  for (guint64 at = 0; at < MIN (size, 30u << 20); at += 65536)
    g_assert_true (h2k_disk_pwrite (disk, at, (gsize)MIN (65536, size - at), junk, NULL));
  image_save (disk, "image");
  image_must_run ("mkfs.fat %s @/image", options);
}

static guint64
size_for (const char *options)
{
  return strstr (options, "12") ? 1440u << 10 : strstr (options, "16") ? 20u << 20 : 36u << 20;
}

/* DISK must be in order for fsck.fat. */
static void
assert_clean (H2kDisk *disk)
{
  image_save (disk, "check");
  image_must_run ("fsck.fat -n @/check");
}

static char *
join (const char *dir, const char *name)
{
  return g_strconcat (g_str_equal (dir, "/") ? "" : dir, "/", name, NULL);
}

static H2kFs *
make_fs (const char *options, guint64 size, H2kDisk **disk)
{
  make_image (options, size);
  *disk = image_load ("image");
  return image_open_fs (*disk, "fat");
}

static void
assert_text (H2kFs *fs, const char *path, const char *text)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (GBytes) bytes = fs->ops->read (fs, path, 0, G_MAXSIZE, &error);

  g_assert_no_error (error);
  g_assert_cmpmem (text, strlen (text), g_bytes_get_data (bytes, NULL), g_bytes_get_size (bytes));
}

static gboolean
has_name (H2kFs *fs, const char *dir, const char *name)
{
  g_autoptr (GPtrArray) names = fs->ops->list (fs, dir, NULL);

  for (guint i = 0; i < names->len; i++)
    if (g_str_equal (names->pdata[i], name))
      return TRUE;
  return FALSE;
}

/* --- what mtools writes ----------------------------------------------------------------------- */

static const char *const tree_files[] = {
    "EFI/BOOT/BOOTX64.EFI",
    "EFI/debian/grub.cfg",
    "EFI/debian/shimx64.efi",
    "EFI/Microsoft/Boot/a-name-of-thirteen+and-more.txt",
    "lower.txt",
    "UPPER.TXT",
    "Mixed.Txt",
    "lowbase.TXT",
    "exactly13char",
    "exactly26charactersin.name",
    "with blanks and + signs [1].conf",
    "\303\234ml\303\244ut und \342\202\254.txt",
    "\303\226",
    "empty",
    ".hidden",
    "many.dots.in.a.name",
    "loader/entries/0123456789abcdef0123456789abcdef-6.1.0-18-amd64.conf",
};

/* "@/tree" with files of seeded lengths and contents. */
static void
make_tree (void)
{
  g_autoptr (GRand) rand = g_rand_new_with_seed (11);

  image_must_run ("rm -rf @/tree");
  for (gsize i = 0; i < G_N_ELEMENTS (tree_files); i++)
    {
      g_autofree char *path = g_build_filename (image_dir (), "tree", tree_files[i], NULL);
      g_autofree char *dir = g_path_get_dirname (path);
      gsize length = g_str_equal (tree_files[i], "empty") ? 0 : g_rand_int_range (rand, 1, 60000);
      g_autofree char *data = g_malloc (length + 1);

      for (gsize k = 0; k < length; k++)
        data[k] = (char)g_rand_int (rand);
      g_assert_cmpint (g_mkdir_with_parents (dir, 0755), ==, 0);
      g_assert_true (g_file_set_contents (path, data, (gssize)length, NULL));
    }
  image_must_run ("touch -d '2019-05-06 07:08:10 UTC' @/tree/UPPER.TXT");
  image_must_run ("touch -d '1999-12-31 23:59:58 UTC' @/tree/lower.txt");
}

static guint
compare_dir (H2kFs *fs, const char *path, const char *host)
{
  g_autoptr (GPtrArray) names = fs->ops->list (fs, path, NULL);
  g_autoptr (GDir) real_dir = g_dir_open (host, 0, NULL);
  guint n_real = 0, n = 0;

  g_assert_nonnull (names);
  g_assert_nonnull (real_dir);
  while (g_dir_read_name (real_dir))
    n_real++;
  g_assert_cmpuint (names->len, ==, n_real);
  for (guint i = 0; i < names->len; i++)
    {
      g_autofree char *sub = join (path, names->pdata[i]);
      g_autofree char *sub_host = g_build_filename (host, names->pdata[i], NULL);
      g_autofree char *content = NULL;
      g_autoptr (GBytes) bytes = NULL;
      struct stat real;
      gsize length;
      H2kStat st;

      n++;
      CHECK (fs->ops->lstat (fs, sub, &st, &error));
      if (lstat (sub_host, &real) != 0)
        g_error ("%s is not there", sub);
      g_assert_cmpuint (st.mode, ==, (real.st_mode & S_IFMT) | 0755);
      if (S_ISDIR (st.mode))
        {
          n += compare_dir (fs, sub, sub_host);
          continue;
        }
      g_assert_cmpint (st.mtime, ==, real.st_mtime & ~1);
      g_assert_true (g_file_get_contents (sub_host, &content, &length, NULL));
      g_assert_cmpuint (st.size, ==, length);
      bytes = fs->ops->read (fs, sub, 0, G_MAXSIZE, NULL);
      g_assert_nonnull (bytes);
      g_assert_cmpmem (content, length, g_bytes_get_data (bytes, NULL), g_bytes_get_size (bytes));
    }
  return n;
}

/* What is on DISK is the same for mtools as for FS. */
static guint
assert_same_for_mtools (H2kDisk *disk, H2kFs *fs)
{
  g_autofree char *out = g_build_filename (image_dir (), "out", NULL);
  g_autoptr (GPtrArray) names = fs->ops->list (fs, "/", NULL);

  image_save (disk, "check");
  image_must_run ("rm -rf @/out");
  image_must_run ("mkdir @/out");
  if (names->len)
    image_must_run ("mcopy -s -n -Q -m -i @/check ::/* @/out");
  return compare_dir (fs, "/", out);
}

static void
test_reading (gconstpointer data)
{
  const Config *config = data;
  g_autofree char *host = NULL;
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;

  if (!have_tools ())
    return;
  host = g_build_filename (image_dir (), "tree", NULL);
  make_tree ();
  make_image (config->options, config->size);
  image_must_run ("find @/tree -mindepth 1 -maxdepth 1 -exec mcopy -s -m -i @/image {} :: ;");
  disk = image_load ("image");
  fs = image_open_fs (disk, "fat");
  g_assert_null (fs->note);
  g_assert_cmpuint (compare_dir (fs, "/", host), >, G_N_ELEMENTS (tree_files));
  g_assert_cmpuint (assert_same_for_mtools (disk, fs), >, G_N_ELEMENTS (tree_files));
}

/* Any way to spell a name finds it. */
static void
test_names (void)
{
  static const char *const same[] = {
      "/efi/boot/bootx64.efi",
      "/EFI/Debian/GRUB.CFG",
      "/efi/MICROS~1/BOOT/A-NAME~1.TXT",
      "/LOWER.TXT",
      "/mixed.txt",
      "/\303\274ML\303\204UT UND \342\202\254.TXT",
      "/\303\266",
      "/.HIDDEN",
      "//EFI//BOOT/",
  };
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  H2kStat st;

  if (!have_tools ())
    return;
  make_tree ();
  make_image ("-F 32 -s 1", 36u << 20);
  image_must_run ("find @/tree -mindepth 1 -maxdepth 1 -exec mcopy -s -i @/image {} :: "
                  ";");
  disk = image_load ("image");
  fs = image_open_fs (disk, "fat");
  for (gsize i = 0; i < G_N_ELEMENTS (same); i++)
    CHECK (fs->ops->lstat (fs, same[i], &st, &error));
  FAILS (fs->ops->lstat (fs, "/efi/boot/bootx64", &st, &error), H2K_ERROR_FAILED);
  FAILS (fs->ops->lstat (fs, "/efi/boot/bootx64.efi2", &st, &error), H2K_ERROR_FAILED);
  FAILS (fs->ops->lstat (fs, "/\377", &st, &error), H2K_ERROR_FAILED);
  /* A small i without a dot is another letter. */
  FAILS (fs->ops->lstat (fs, "/ef\304\261", &st, &error), H2K_ERROR_FAILED);
  FAILS (fs->ops->lstat (fs, "/efi/..", &st, &error), H2K_ERROR_FAILED);
}

/* Characters outside of the first plane take two units (mtools does not know that). */
static void
test_surrogates (void)
{
  static const guint8 units[] = {0x3d, 0xd8, 0x27, 0xdc, 'X', 0};
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  g_autoptr (H2kFs) again = NULL;
  H2kFatLayout layout;
  guint8 slot[32];

  if (!have_tools ())
    return;
  fs = make_fs ("-F 12", 1440u << 10, &disk);
  image_put (fs, "/\360\237\220\247X", "penguin");
  CHECK (h2k_fat_read_layout (disk, &layout, &error));
  g_assert_true (h2k_disk_pread (disk, layout.root, sizeof slot, slot, NULL));
  g_assert_cmpmem (slot + 1, 6, units, 6);
  g_assert_cmpuint (slot[0], ==, 0x41);
  again = image_open_fs (disk, "fat");
  g_assert_true (has_name (again, "/", "\360\237\220\247X"));
  assert_text (again, "/\360\237\220\247x", "penguin");
}

/* Entries that no tool here writes. */
static void
test_odd_entries (void)
{
  static const struct
  {
    const char *raw; /* 11 bytes */
    guint8 attributes, lower;
    const char *name; /* NULL: it is not shown */
  } cases[] = {
      {"LOWER   TXT", 0x20, 0x18, "lower.txt"},
      {"LOWBASE TXT", 0x20, 0x08, "lowbase.TXT"},
      {"LOWEXT  TXT", 0x20, 0x10, "LOWEXT.txt"},
      {"NOEXT      ", 0x20, 0x00, "NOEXT"},
      {"\005BC     TXT", 0x20, 0x00, "\317\203BC.TXT"},
      {"\232BC     TXT", 0x20, 0x00, "\303\234BC.TXT"},
      {"VOLUME     ", 0x08, 0x00, NULL},
      {"\345GONE      ", 0x20, 0x00, NULL},
      {"A/B     TXT", 0x20, 0x00, NULL},
      {" BLANK  TXT", 0x20, 0x00, NULL},
      {"A B        ", 0x20, 0x00, "A B"},
  };
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  g_autoptr (GPtrArray) names = NULL;
  guint8 slots[G_N_ELEMENTS (cases)][32] = {0};
  H2kFatLayout layout;
  guint at = 0;

  if (!have_tools ())
    return;
  make_image ("-F 16 -s 1", 20u << 20);
  disk = image_load ("image");
  CHECK (h2k_fat_read_layout (disk, &layout, &error));
  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      memcpy (slots[i], cases[i].raw, 11);
      slots[i][11] = cases[i].attributes;
      slots[i][12] = cases[i].lower;
    }
  g_assert_true (h2k_disk_pwrite (disk, layout.root, sizeof slots, slots, NULL));
  fs = image_open_fs (disk, "fat");
  names = fs->ops->list (fs, "/", NULL);
  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    if (cases[i].name)
      {
        g_autofree char *path = join ("/", cases[i].name);
        H2kStat st;
        g_assert_cmpuint (at, <, names->len);
        g_assert_cmpstr (names->pdata[at], ==, cases[i].name);
        CHECK (fs->ops->lstat (fs, path, &st, &error));
        at++;
      }
  g_assert_cmpuint (at, ==, names->len);
}

/* Parts of a long name that do not belong to the entry behind them do not name it. */
static void
test_long_names_damaged (void)
{
  static const struct
  {
    guint slot, byte;
    guint8 value;
    const char *name;
  } cases[] = {
      {0, 1, 'A', "A third part."}, /* nothing that can be seen */
      {0, 0, 0x44, "ALONGN~1"},     /* too many parts */
      {0, 0, 0x03, "ALONGN~1"},     /* no last part */
      {0, 0, 0x40, "ALONGN~1"},     {0, 0, 0x7f, "ALONGN~1"},  {1, 0, 0x01, "ALONGN~1"},
      {1, 0, 0x00, NULL},           {2, 13, 0x55, "ALONGN~1"}, {0, 13, 0x55, "ALONGN~1"},
      {1, 0, 0xe5, "ALONGN~1"},     {3, 0, 'B', "BLONGN~1"},   {2, 1, '/', "ALONGN~1"},
      {2, 2, 0xd8, "ALONGN~1"}, /* half of a surrogate pair */
      {2, 1, 0, "ALONGN~1"},    /* the name ends before it begins */
  };

  if (!have_tools ())
    return;
  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autoptr (H2kDisk) disk = NULL;
      g_autoptr (H2kFs) fs = NULL;
      g_autoptr (GPtrArray) names = NULL;
      H2kFatLayout layout;

      fs = make_fs ("-F 12", 1440u << 10, &disk);
      image_put (fs, "/a long name of three parts, or so it", "x");
      CHECK (h2k_fat_read_layout (disk, &layout, &error));
      g_assert_true (h2k_disk_pwrite (disk, layout.root + cases[i].slot * 32 + cases[i].byte, 1,
                                      &cases[i].value, NULL));
      names = fs->ops->list (fs, "/", NULL);
      g_assert_cmpuint (names->len, ==, cases[i].name ? 1 : 0);
      if (cases[i].name && i > 0)
        g_assert_cmpstr (names->pdata[0], ==, cases[i].name);
    }
}

/* --- random changes against a model ----------------------------------------------------------- */

static const char *const pool[] = {
    "README.TXT", "grub.cfg",    "BOOTX64.EFI",
    "a",          "Long Name",   "a rather long name of more than thirteen.conf",
    "x.y.z",      "\303\226l",   "this+that",
    "sub",        "SUBDIR",      "directory-with-a-name",
    "~weird~1.x", "UPPER.lower",
};

/* The files by their path: GByteArray *, NULL for directories. */
typedef struct
{
  GHashTable *files;
  GRand *rand;
  H2kFs *fs;
} Model;

static void
free_content (gpointer content)
{
  if (content)
    g_byte_array_unref (content);
}

static gboolean
model_is_dir (const Model *model, const char *path)
{
  gpointer content;

  return g_str_equal (path, "/")
         || (g_hash_table_lookup_extended (model->files, path, NULL, &content) && !content);
}

static gboolean
model_has_children (const Model *model, const char *path)
{
  g_autofree char *prefix = g_strconcat (path, "/", NULL);
  GHashTableIter iter;
  gpointer key;

  g_hash_table_iter_init (&iter, model->files);
  while (g_hash_table_iter_next (&iter, &key, NULL))
    if (g_str_has_prefix (key, prefix))
      return TRUE;
  return FALSE;
}

/* A path that is there, or not; its parent most often is. */
static char *
random_path (const Model *model)
{
  guint depth = g_rand_int_range (model->rand, 1, 4);
  GString *path = g_string_new (NULL);

  for (guint i = 0; i < depth; i++)
    {
      if (i && !model_is_dir (model, path->str))
        break;
      g_string_append_printf (path, "/%s",
                              pool[g_rand_int_range (model->rand, 0, G_N_ELEMENTS (pool))]);
    }
  return g_string_free (path, FALSE);
}

static void
model_change_content (Model *model, const char *path, GByteArray *content)
{
  guint kind = g_rand_int_range (model->rand, 0, 4);
  guint offset = g_rand_int_range (model->rand, 0, (gint32)content->len + 3000);
  guint length = g_rand_int_range (model->rand, 0, kind == 0 ? 30000 : 2000), old = content->len;
  g_autofree guint8 *data = g_malloc (length + 1);

  if (kind == 1)
    {
      offset = MIN (offset, 100000);
      CHECK (model->fs->ops->truncate (model->fs, path, offset, &error));
      g_byte_array_set_size (content, offset);
      if (offset > old)
        memset (content->data + old, 0, offset - old);
      return;
    }
  for (guint i = 0; i < length; i++)
    data[i] = (guint8)g_rand_int (model->rand);
  if (offset + length > 100000)
    return;
  CHECK (model->fs->ops->write (model->fs, path, offset, data, length, &error));
  if (length && offset + length > old)
    {
      g_byte_array_set_size (content, offset + length);
      memset (content->data + old, 0, offset + length - old);
    }
  if (length)
    memcpy (content->data + offset, data, length);
}

static void
model_remove (Model *model, const char *path)
{
  gpointer content;

  if (!g_hash_table_lookup_extended (model->files, path, NULL, &content))
    FAILS (model->fs->ops->remove (model->fs, path, &error), H2K_ERROR_FAILED);
  else if (!content && model_has_children (model, path))
    FAILS (model->fs->ops->remove (model->fs, path, &error), H2K_ERROR_FILESYSTEM);
  else
    {
      CHECK (model->fs->ops->remove (model->fs, path, &error));
      g_hash_table_remove (model->files, path);
    }
}

/* Give everything at FROM and below the path TO. */
static void
model_move (Model *model, const char *from, const char *to)
{
  g_autoptr (GPtrArray) keys = g_ptr_array_new ();
  gsize n = strlen (from);
  GHashTableIter iter;
  gpointer key, content;

  g_hash_table_remove (model->files, to);
  g_hash_table_iter_init (&iter, model->files);
  while (g_hash_table_iter_next (&iter, &key, NULL))
    if (g_str_has_prefix (key, from) && (((char *)key)[n] == '/' || !((char *)key)[n]))
      g_ptr_array_add (keys, key);
  for (guint i = 0; i < keys->len; i++)
    {
      char *old = keys->pdata[i];
      char *new = g_strconcat (to, old + n, NULL);
      g_assert_true (g_hash_table_steal_extended (model->files, old, NULL, &content));
      g_hash_table_insert (model->files, new, content);
      g_free (old);
    }
}

static void
model_rename (Model *model, const char *from)
{
  g_autofree char *to = random_path (model), *parent = g_path_get_dirname (to);
  g_autofree char *inside = g_strconcat (from, "/", NULL);
  gpointer content, other;

  if (!g_hash_table_lookup_extended (model->files, from, NULL, &content))
    FAILS (model->fs->ops->rename (model->fs, from, to, &error), H2K_ERROR_FAILED);
  else if (!content && g_str_has_prefix (to, inside))
    FAILS (model->fs->ops->rename (model->fs, from, to, &error), H2K_ERROR_FILESYSTEM);
  else if (!model_is_dir (model, parent))
    FAILS (model->fs->ops->rename (model->fs, from, to, &error), H2K_ERROR_FAILED);
  else if (!g_str_equal (from, to) && g_hash_table_lookup_extended (model->files, to, NULL, &other)
           && (!content != !other || (!other && model_has_children (model, to))))
    FAILS (model->fs->ops->rename (model->fs, from, to, &error), H2K_ERROR_FILESYSTEM);
  else
    {
      CHECK (model->fs->ops->rename (model->fs, from, to, &error));
      if (!g_str_equal (from, to))
        model_move (model, from, to);
    }
}

static void
model_step (Model *model)
{
  g_autofree char *path = random_path (model), *parent = g_path_get_dirname (path);
  guint kind = g_rand_int_range (model->rand, 0, 10);
  gpointer content;
  gboolean found = g_hash_table_lookup_extended (model->files, path, NULL, &content);
  gboolean dir = g_rand_int_range (model->rand, 0, 3) == 0;

  if (kind == 0)
    model_remove (model, path);
  else if (kind == 1)
    model_rename (model, path);
  else if (found && content)
    model_change_content (model, path, content);
  else if (found)
    FAILS (model->fs->ops->create (model->fs, path, 0644, 0, 0, NULL, &error),
           H2K_ERROR_FILESYSTEM);
  else if (model_is_dir (model, parent))
    {
      CHECK (model->fs->ops->create (model->fs, path, dir ? S_IFDIR | 0755 : 0644, 0, 0, NULL,
                                     &error));
      g_hash_table_insert (model->files, g_steal_pointer (&path), dir ? NULL : g_byte_array_new ());
    }
}

/* All that the model has is there; that there is no more, the number of names tells. */
static void
assert_model (const Model *model, H2kFs *fs, guint n)
{
  GHashTableIter iter;
  gpointer key, value;

  g_assert_cmpuint (n, ==, g_hash_table_size (model->files));
  g_hash_table_iter_init (&iter, model->files);
  while (g_hash_table_iter_next (&iter, &key, &value))
    {
      g_autofree char *dir = g_path_get_dirname (key), *name = g_path_get_basename (key);
      g_autoptr (GBytes) bytes = NULL;
      GByteArray *content = value;
      H2kStat st;

      CHECK (fs->ops->lstat (fs, key, &st, &error));
      g_assert_cmpint (S_ISDIR (st.mode), ==, content == NULL);
      g_assert_true (has_name (fs, dir, name));
      if (!content)
        continue;
      bytes = fs->ops->read (fs, key, 0, G_MAXSIZE, NULL);
      g_assert_nonnull (bytes);
      g_assert_cmpmem (content->data, content->len, g_bytes_get_data (bytes, NULL),
                       g_bytes_get_size (bytes));
    }
}

/* The copies of the table are the same, and FSInfo is right (fsck.fat does not say). */
static void
assert_tables (H2kDisk *disk, H2kFs *fs)
{
  g_autofree guint8 *window = g_malloc (H2K_FAT_WINDOW_BYTES);
  H2kFatLayout layout;
  guint64 n_free = 0;
  guint8 info[8];

  CHECK (h2k_fat_read_layout (disk, &layout, &error));
  for (guint64 i = 0; i * H2K_FAT_WINDOW < layout.end; i++)
    {
      gboolean agree;
      CHECK (h2k_fat_read_window (disk, &layout, i, window, &agree, &error));
      g_assert_true (agree);
      for (guint64 k = 0; k < H2K_FAT_WINDOW && i * H2K_FAT_WINDOW + k < layout.end; k++)
        n_free += i * H2K_FAT_WINDOW + k >= 2 && h2k_fat_entry (&layout, window, (guint)k) == 0;
    }
  g_assert_cmpuint (fs->ops->free_space (fs), ==, n_free * layout.cluster);
  if (layout.info)
    {
      g_assert_true (h2k_disk_pread (disk, layout.info + 488, 8, info, NULL));
      g_assert_cmpuint (h2k_le32 (info), ==, n_free);
    }
}

static void
test_random (gconstpointer data)
{
  const Config *config = data;
  g_autoptr (GHashTable) files
      = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, free_content);
  g_autoptr (GRand) rand = g_rand_new_with_seed ((guint32)config->size);
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  Model model = {files, rand};

  if (!have_tools ())
    return;
  fs = make_fs (config->options, config->size, &disk);
  model.fs = fs;
  for (guint round = 0; round < 2; round++)
    {
      g_autoptr (H2kFs) again = NULL;

      for (guint i = 0; i < 250; i++)
        model_step (&model);
      CHECK (fs->ops->flush (fs, &error));
      if (!strstr (config->options, "-f 4"))
        assert_clean (disk);
      assert_tables (disk, fs);
      again = image_open_fs (disk, "fat");
      g_assert_null (again->note);
      assert_model (&model, again, assert_same_for_mtools (disk, again));
    }
}

/* --- limits ----------------------------------------------------------------------------------- */

static void
test_full_disk (gconstpointer options)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  g_autofree guint8 *data = NULL;
  guint64 space;

  if (!have_tools ())
    return;
  fs = make_fs (options, size_for (options), &disk);
  space = fs->ops->free_space (fs);
  data = g_malloc0 (space + 1);
  CHECK (fs->ops->create (fs, "/big", 0644, 0, 0, NULL, &error));
  CHECK (fs->ops->create (fs, "/dir", S_IFDIR | 0755, 0, 0, NULL, &error));
  FAILS (fs->ops->write (fs, "/big", 0, data, space + 1, &error), H2K_ERROR_FILESYSTEM);
  FAILS (fs->ops->truncate (fs, "/big", space + 1, &error), H2K_ERROR_FILESYSTEM);
  assert_text (fs, "/big", "");
  space = fs->ops->free_space (fs);
  CHECK (fs->ops->write (fs, "/big", 0, data, space, &error));
  g_assert_cmpuint (fs->ops->free_space (fs), ==, 0);
  FAILS (fs->ops->write (fs, "/big", space, data, 1, &error), H2K_ERROR_FILESYSTEM);
  CHECK (fs->ops->write (fs, "/big", space - 1, data, 1, &error));
  FAILS (fs->ops->create (fs, "/dir/sub", S_IFDIR | 0755, 0, 0, NULL, &error),
         H2K_ERROR_FILESYSTEM);
  CHECK (fs->ops->create (fs, "/dir/file", 0644, 0, 0, NULL, &error));
  CHECK (fs->ops->flush (fs, &error));
  assert_clean (disk);
  CHECK (fs->ops->truncate (fs, "/big", 1, &error));
  g_assert_cmpuint (fs->ops->free_space (fs), >, space - 70000);
  CHECK (fs->ops->flush (fs, &error));
  assert_clean (disk);
  assert_tables (disk, fs);
  assert_same_for_mtools (disk, fs);
}

/* The root directory of FAT12 and FAT16 does not grow, all others do. */
static void
test_many_files (gconstpointer options)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  gboolean fixed = !strstr (options, "32");

  if (!have_tools ())
    return;
  fs = make_fs (options, size_for (options), &disk);
  CHECK (fs->ops->create (fs, "/directory", S_IFDIR | 0755, 0, 0, NULL, &error));
  for (guint i = 0; i < 400; i++)
    {
      g_autofree char *in_dir = g_strdup_printf ("/directory/a name of many parts %u.text", i);
      g_autofree char *in_root = g_strdup_printf ("/file%u", i);

      image_put (fs, in_dir, in_root);
      if (fixed && i >= 255) /* two slots each, and one for the directory */
        FAILS (fs->ops->create (fs, in_root, 0644, 0, 0, NULL, &error), H2K_ERROR_FILESYSTEM);
      else
        image_put (fs, in_root, in_dir);
    }
  CHECK (fs->ops->flush (fs, &error));
  assert_clean (disk);
  g_assert_cmpuint (assert_same_for_mtools (disk, fs), ==, 1 + 400 + (fixed ? 255 : 400));
  for (guint i = 0; i < 400; i += 1 + i % 3)
    {
      g_autofree char *in_dir = g_strdup_printf ("/directory/A NAME OF many PARTS %u.text", i);
      CHECK (fs->ops->remove (fs, in_dir, &error));
    }
  for (guint i = 0; i < 20; i++)
    {
      g_autofree char *path = g_strdup_printf ("/directory/NEW%u", i);
      image_put (fs, path, path);
    }
  CHECK (fs->ops->flush (fs, &error));
  assert_clean (disk);
  assert_same_for_mtools (disk, fs);
}

static void
test_sizes (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  g_autoptr (GBytes) bytes = NULL;
  guint64 most = G_MAXUINT32;
  H2kStat st;

  if (!have_tools ())
    return;
  make_image ("-F 32 -s 128", 20u << 20); /* for its place */
  image_must_run ("truncate -s 5G @/image");
  image_must_run ("mkfs.fat -F 32 -s 64 @/image");
  {
    g_autofree char *path = g_build_filename (image_dir (), "image", NULL);
    g_autoptr (H2kDisk) base = h2k_disk_open (path, "raw", NULL);
    disk = h2k_overlay_new (base, NULL, 64u << 20);
  }
  fs = image_open_fs (disk, "fat");
  CHECK (fs->ops->create (fs, "/big", 0644, 0, 0, NULL, &error));
  CHECK (fs->ops->write (fs, "/big", most - 3, "end", 3, &error));
  CHECK (fs->ops->lstat (fs, "/big", &st, &error));
  g_assert_cmpuint (st.size, ==, most);
  bytes = fs->ops->read (fs, "/big", most - 6, 100, NULL);
  g_assert_cmpmem ("\0\0\0end", 6, g_bytes_get_data (bytes, NULL), g_bytes_get_size (bytes));
  FAILS (fs->ops->write (fs, "/big", most, "x", 1, &error), H2K_ERROR_FILESYSTEM);
  FAILS (fs->ops->write (fs, "/big", G_MAXUINT64, "xy", 2, &error), H2K_ERROR_FILESYSTEM);
  FAILS (fs->ops->truncate (fs, "/big", most + 1, &error), H2K_ERROR_FILESYSTEM);
  CHECK (fs->ops->remove (fs, "/big", &error));
  CHECK (fs->ops->flush (fs, &error));
  image_must_run ("rm @/image");
}

/* --- single changes --------------------------------------------------------------------------- */

static void
test_short_names (void)
{
  static const struct
  {
    const char *name, *alias;
  } cases[] = {
      {"PLAIN.TXT", "PLAIN.TXT"},
      {"lower.txt", "LOWER.TXT"},
      {"a long name.text", "ALONGN~1.TEX"},
      {"a long name2.text", "ALONGN~2.TEX"},
      {"two.dots.conf", "TWODOT~1.CON"},
      {".profile", "PROFIL~1"},
      {"plus+sign", "PLUS_S~1"},
      {"\303\274ber", "_BER~1"},
      {"grub.cfg", "GRUB.CFG"},
      {"grubx64.efi", "GRUBX64.EFI"},
      {"GRUB~1.TMP", "GRUB~1.TMP"},
      {"grub tmp.tmp", "GRUBTM~1.TMP"},
  };
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;

  if (!have_tools ())
    return;
  fs = make_fs ("-F 16 -s 1", 20u << 20, &disk);
  CHECK (fs->ops->create (fs, "/d", S_IFDIR | 0755, 0, 0, NULL, &error));
  for (gsize i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autofree char *path = join ("/d", cases[i].name), *alias = join ("/d", cases[i].alias);
      image_put (fs, path, cases[i].name);
      assert_text (fs, alias, cases[i].name);
      g_assert_true (has_name (fs, "/d", cases[i].name));
    }
  for (guint i = 0; i < 30; i++)
    {
      g_autofree char *path = g_strdup_printf ("/d/same beginning %u", i);
      image_put (fs, path, path);
    }
  assert_text (fs, "/d/SAMEBE~9", "/d/same beginning 8");
  CHECK (fs->ops->flush (fs, &error));
  assert_clean (disk);
  assert_same_for_mtools (disk, fs);
}

static void
test_rename (gconstpointer options)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  H2kStat st;

  if (!have_tools ())
    return;
  fs = make_fs (options, size_for (options), &disk);
  CHECK (fs->ops->create (fs, "/one", S_IFDIR | 0755, 0, 0, NULL, &error));
  CHECK (fs->ops->create (fs, "/one/two", S_IFDIR | 0755, 0, 0, NULL, &error));
  CHECK (fs->ops->create (fs, "/empty", S_IFDIR | 0755, 0, 0, NULL, &error));
  image_put (fs, "/one/two/file", "content");
  image_put (fs, "/old.txt", "old");
  image_put (fs, "/new.txt", "new");
  /* Only the case. */
  CHECK (fs->ops->rename (fs, "/old.txt", "/Old.TXT", &error));
  g_assert_true (has_name (fs, "/", "Old.TXT"));
  g_assert_false (has_name (fs, "/", "old.txt"));
  CHECK (fs->ops->rename (fs, "/old.txt", "/OLD.TXT", &error));
  g_assert_true (has_name (fs, "/", "OLD.TXT"));
  CHECK (fs->ops->rename (fs, "/OLD.TXT", "/OLD.TXT", &error));
  /* Over another file, whose name stays as it is written. */
  CHECK (fs->ops->rename (fs, "/OLD.TXT", "/NEW.txt", &error));
  g_assert_true (has_name (fs, "/", "new.txt"));
  assert_text (fs, "/new.txt", "old");
  FAILS (fs->ops->lstat (fs, "/old.txt", &st, &error), H2K_ERROR_FAILED);
  /* Directories. */
  FAILS (fs->ops->rename (fs, "/one", "/ONE/two/three", &error), H2K_ERROR_FILESYSTEM);
  FAILS (fs->ops->rename (fs, "/one", "/new.txt", &error), H2K_ERROR_FILESYSTEM);
  FAILS (fs->ops->rename (fs, "/new.txt", "/one", &error), H2K_ERROR_FILESYSTEM);
  FAILS (fs->ops->rename (fs, "/empty", "/one", &error), H2K_ERROR_FILESYSTEM);
  FAILS (fs->ops->rename (fs, "/", "/x", &error), H2K_ERROR_FAILED);
  CHECK (fs->ops->rename (fs, "/one/two", "/empty", &error));
  assert_text (fs, "/empty/file", "content");
  CHECK (fs->ops->rename (fs, "/empty", "/one/back with a longer name", &error));
  assert_text (fs, "/one/back with a longer name/file", "content");
  CHECK (fs->ops->rename (fs, "/one/back with a longer name/file", "/file", &error));
  CHECK (fs->ops->flush (fs, &error));
  assert_clean (disk); /* which looks at ".." */
  assert_same_for_mtools (disk, fs);
  assert_tables (disk, fs);
}

static void
test_attributes (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  g_autoptr (GPtrArray) names = NULL;
  g_autofree char *output = NULL;
  H2kStat st;

  if (!have_tools ())
    return;
  fs = make_fs ("-F 32 -s 1", 36u << 20, &disk);
  image_put (fs, "/file", "x");
  CHECK (fs->ops->lstat (fs, "/file", &st, &error));
  g_assert_cmpuint (st.mode, ==, S_IFREG | 0755);
  g_assert_cmpint (ABS (st.mtime - g_get_real_time () / G_USEC_PER_SEC), <, 100);
  st.mtime = 1700000001;
  st.atime = 1600000000;
  st.mode = 0444;
  CHECK (fs->ops->set_stat (fs, "/file", &st, &error));
  CHECK (fs->ops->lstat (fs, "/file", &st, &error));
  g_assert_cmpuint (st.mode, ==, S_IFREG | 0555);
  g_assert_cmpint (st.mtime, ==, 1700000000);
  g_assert_cmpint (st.atime, ==, 1600000000 / 86400 * 86400);
  image_save (disk, "check");
  g_assert_cmpint (image_run (&output, "mattrib -i @/check ::/file"), ==, 0);
  g_assert_nonnull (strchr (output, 'R'));
  /* Before and behind what can be told. */
  st.mtime = 5;
  CHECK (fs->ops->set_stat (fs, "/file", &st, &error));
  CHECK (fs->ops->lstat (fs, "/file", &st, &error));
  g_assert_cmpint (st.mtime, ==, 315532800);
  st.mtime = G_MAXINT64;
  CHECK (fs->ops->set_stat (fs, "/file", &st, &error));
  CHECK (fs->ops->lstat (fs, "/file", &st, &error));
  g_assert_cmpint (st.mtime, ==, G_GINT64_CONSTANT (4354819198));
  st.uid = 1;
  FAILS (fs->ops->set_stat (fs, "/file", &st, &error), H2K_ERROR_UNSUPPORTED);
  CHECK (fs->ops->lstat (fs, "/", &st, &error));
  CHECK (fs->ops->set_stat (fs, "/", &st, &error));
  names = fs->ops->list_xattr (fs, "/file", NULL);
  g_assert_cmpuint (names->len, ==, 0);
  g_assert_null (fs->ops->get_xattr (fs, "/file", "security.selinux", NULL));
  g_assert_null (fs->ops->set_xattr);
  CHECK (fs->ops->flush (fs, &error));
  assert_clean (disk);
}

static void
test_errors (void)
{
  static const char *const bad_names[]
      = {"a?b", "a*b", "a:b", "a\\b", "a\"b", "<", ">", "a|b", "dot.", "blank ", "\001", "\377"};
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kDisk) slice = NULL;
  g_autoptr (H2kFs) fs = NULL;
  g_autofree char *most = g_strnfill (256, 'n');
  H2kStat st;

  if (!have_tools ())
    return;
  fs = make_fs ("-F 16 -s 1", 20u << 20, &disk);
  image_put (fs, "/file", "x");
  CHECK (fs->ops->create (fs, "/dir", S_IFDIR | 0755, 0, 0, NULL, &error));
  image_put (fs, "/dir/file", "x");
  FAILS (fs->ops->lstat (fs, "/none", &st, &error), H2K_ERROR_FAILED);
  FAILS (fs->ops->lstat (fs, "/file/none", &st, &error), H2K_ERROR_FAILED);
  FAILS (fs->ops->list (fs, "/file", &error), H2K_ERROR_FAILED);
  FAILS (fs->ops->read (fs, "/dir", 0, 1, &error), H2K_ERROR_FILESYSTEM);
  FAILS (fs->ops->readlink (fs, "/file", &error), H2K_ERROR_FILESYSTEM);
  FAILS (fs->ops->write (fs, "/dir", 0, "x", 1, &error), H2K_ERROR_FILESYSTEM);
  FAILS (fs->ops->truncate (fs, "/none", 0, &error), H2K_ERROR_FAILED);
  FAILS (fs->ops->remove (fs, "/none", &error), H2K_ERROR_FAILED);
  FAILS (fs->ops->remove (fs, "/dir", &error), H2K_ERROR_FILESYSTEM);
  FAILS (fs->ops->remove (fs, "/", &error), H2K_ERROR_FAILED);
  FAILS (fs->ops->rename (fs, "/none", "/x", &error), H2K_ERROR_FAILED);
  FAILS (fs->ops->create (fs, "/FILE", 0644, 0, 0, NULL, &error), H2K_ERROR_FILESYSTEM);
  FAILS (fs->ops->create (fs, "/none/x", 0644, 0, 0, NULL, &error), H2K_ERROR_FAILED);
  FAILS (fs->ops->create (fs, "/file/x", 0644, 0, 0, NULL, &error), H2K_ERROR_FAILED);
  FAILS (fs->ops->create (fs, "/link", 0, 0, 0, "file", &error), H2K_ERROR_UNSUPPORTED);
  FAILS (fs->ops->create (fs, "/null", S_IFCHR | 0666, 0, 0, NULL, &error), H2K_ERROR_UNSUPPORTED);
  FAILS (fs->ops->create (fs, "/mine", 0644, 1000, 0, NULL, &error), H2K_ERROR_UNSUPPORTED);
  for (gsize i = 0; i < G_N_ELEMENTS (bad_names); i++)
    {
      g_autofree char *path = join ("/", bad_names[i]);
      FAILS (fs->ops->create (fs, path, 0644, 0, 0, NULL, &error), H2K_ERROR_FILESYSTEM);
    }
  {
    g_autofree char *path = join ("/", most);
    FAILS (fs->ops->create (fs, path, 0644, 0, 0, NULL, &error), H2K_ERROR_FILESYSTEM);
    path[256] = 0;
    image_put (fs, path, "255");
    g_assert_true (has_name (fs, "/", path + 1));
  }
  CHECK (fs->ops->flush (fs, &error));
  assert_clean (disk);
  assert_same_for_mtools (disk, fs);
  slice = h2k_slice_new (disk, 0, disk->size - 4096, "slice", NULL);
  FAILS (h2k_fs_open (slice, &error), H2K_ERROR_FILESYSTEM);
}

/* A disk that is not written. */
static void
test_read_only (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  g_autofree char *path = NULL;

  if (!have_tools ())
    return;
  make_image ("-F 32 -s 1", 36u << 20);
  path = g_build_filename (image_dir (), "image", NULL);
  disk = h2k_disk_open (path, "raw", NULL);
  fs = image_open_fs (disk, "fat");
  g_assert_false (fs->writable);
  FAILS (fs->ops->create (fs, "/x", 0644, 0, 0, NULL, &error), H2K_ERROR_FILESYSTEM);
  CHECK (fs->ops->flush (fs, &error));
}

/* Little is written, and nothing when nothing changes. */
static void
test_little_is_written (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kDisk) overlay = NULL;
  g_autoptr (H2kFs) fs = NULL;

  if (!have_tools ())
    return;
  h2k_fs_free (make_fs ("-F 32 -s 8", 600u << 20, &disk));
  overlay = h2k_overlay_new (disk, NULL, 1 << 20);
  fs = image_open_fs (overlay, "fat");
  FAILS (fs->ops->create (fs, "/a:b", 0644, 0, 0, NULL, &error), H2K_ERROR_FILESYSTEM);
  CHECK (fs->ops->flush (fs, &error));
  g_assert_cmpuint (h2k_overlay_bytes (overlay), ==, 0);
  image_put (fs, "/grub.cfg", "set timeout=1\n");
  CHECK (fs->ops->flush (fs, &error));
  g_assert_cmpuint (h2k_overlay_bytes (overlay), <=, 4 * 65536);
}

/* --- the volume's state ----------------------------------------------------------------------- */

static guint8
state_of (H2kDisk *disk)
{
  H2kFatLayout layout;

  CHECK (h2k_fat_read_layout (disk, &layout, &error));
  return layout.state;
}

static void
test_state (gconstpointer options)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  g_autoptr (H2kFs) dirty = NULL;
  H2kFatLayout layout;
  guint32 entry;

  if (!have_tools ())
    return;
  fs = make_fs (options, size_for (options), &disk);
  g_assert_cmpuint (state_of (disk), ==, 0);
  image_put (fs, "/x", "x");
  g_assert_cmpuint (state_of (disk), ==, H2K_FAT_STATE_DIRTY);
  CHECK (fs->ops->flush (fs, &error));
  g_assert_cmpuint (state_of (disk), ==, 0);

  image_put (fs, "/y", "y"); /* and no flush: as after a crash */
  dirty = image_open_fs (disk, "fat");
  g_assert_nonnull (dirty->note);
  image_put (dirty, "/z", "z");
  CHECK (dirty->ops->flush (dirty, &error));
  g_assert_cmpuint (state_of (disk), ==, H2K_FAT_STATE_DIRTY);
  CHECK (fs->ops->flush (fs, &error));
  g_assert_cmpuint (state_of (disk), ==, 0);

  CHECK (h2k_fat_read_layout (disk, &layout, &error));
  if (layout.bits == 12)
    return;
  entry = GUINT32_TO_LE (layout.bits == 32 ? 0x07ffffff : 0x7fff);
  g_assert_true (
      h2k_disk_pwrite (disk, layout.table + layout.bits / 8, layout.bits / 8, &entry, NULL));
  h2k_fs_free (g_steal_pointer (&dirty));
  dirty = image_open_fs (disk, "fat");
  g_assert_nonnull (dirty->note);
}

/* With an active copy of the table, the others are left alone; FSInfo that makes no sense is not
 * believed. */
static void
test_active_table (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  g_autofree guint8 *before = NULL;
  g_autofree guint8 *after = NULL;
  H2kFatLayout layout;
  gsize size;

  if (!have_tools ())
    return;
  h2k_fs_free (make_fs ("-F 32 -s 1", 36u << 20, &disk));
  CHECK (h2k_fat_read_layout (disk, &layout, &error));
  size = (gsize)layout.table_size;
  before = g_malloc (size);
  after = g_malloc (size);
  g_assert_true (h2k_disk_pwrite (disk, 40, 2, "\x81\0", NULL));
  g_assert_true (h2k_disk_pwrite (disk, layout.info + 488, 4, "\1\2\3\4", NULL));
  g_assert_true (h2k_disk_pread (disk, layout.table, size, before, NULL));
  fs = image_open_fs (disk, "fat");
  image_put (fs, "/a name", "content");
  CHECK (fs->ops->flush (fs, &error));
  assert_tables (disk, fs);
  g_assert_true (h2k_disk_pread (disk, layout.table, size, after, NULL));
  g_assert_cmpmem (before, size, after, size);
  g_assert_true (h2k_disk_pread (disk, layout.table + size, size, after, NULL));
  g_assert_cmpint (memcmp (before, after, size), !=, 0);
  /* A second look, and as a volume whose only table that is. */
  h2k_fs_free (g_steal_pointer (&fs));
  fs = image_open_fs (disk, "fat");
  assert_text (fs, "/A NAME", "content");
}

/* --- damage ----------------------------------------------------------------------------------- */

static void
set_entry (H2kDisk *disk, guint32 cluster, guint32 entry)
{
  H2kFatLayout layout;
  guint32 v = GUINT32_TO_LE (entry);

  CHECK (h2k_fat_read_layout (disk, &layout, &error));
  for (guint i = 0; i < layout.copies; i++)
    g_assert_true (
        h2k_disk_pwrite (disk, layout.table + i * layout.table_size + cluster * 4, 4, &v, NULL));
}

/* Everything that can be done with /dir/file fails, and does not touch the volume. */
static void
assert_refused (H2kDisk *disk)
{
  g_autoptr (H2kDisk) overlay = h2k_overlay_new (disk, NULL, 1 << 20);
  g_autoptr (H2kFs) fs = image_open_fs (overlay, "fat");
  g_autofree guint8 *data = g_malloc0 (40000);

  FAILS (fs->ops->read (fs, "/file", 0, G_MAXSIZE, &error), H2K_ERROR_FILESYSTEM);
  FAILS (fs->ops->write (fs, "/file", 0, data, 40000, &error), H2K_ERROR_FILESYSTEM);
  FAILS (fs->ops->truncate (fs, "/file", 10, &error), H2K_ERROR_FILESYSTEM);
  FAILS (fs->ops->remove (fs, "/file", &error), H2K_ERROR_FILESYSTEM);
  CHECK (fs->ops->flush (fs, &error));
  g_assert_cmpuint (h2k_overlay_bytes (overlay), ==, 0);
}

static void
test_chains (void)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  g_autofree guint8 *data = g_malloc0 (30000);
  const guint32 links[] = {0, 1, 2, 3, 5, 0x0ffffff7, 0x0fffffff, 100000000};

  if (!have_tools ())
    return;
  fs = make_fs ("-F 32 -s 1", 36u << 20, &disk);
  CHECK (fs->ops->create (fs, "/file", 0644, 0, 0, NULL, &error));
  CHECK (fs->ops->write (fs, "/file", 0, data, 30000, &error)); /* clusters 3 and on */
  CHECK (fs->ops->flush (fs, &error));
  for (gsize i = 0; i < G_N_ELEMENTS (links); i++)
    {
      set_entry (disk, 10, links[i]);
      assert_refused (disk);
    }
  set_entry (disk, 10, 11);
  h2k_fs_free (g_steal_pointer (&fs));
  fs = image_open_fs (disk, "fat");
  CHECK (fs->ops->remove (fs, "/file", &error));

  /* The root directory is a ring. */
  set_entry (disk, 2, 2);
  FAILS (h2k_fs_open (disk, &error), H2K_ERROR_FILESYSTEM);
}

/* Where a write fails, what was there before can still be read, and fsck.fat finds nothing worse
 * than lost clusters, a number in FSInfo and the mark. */
static void
test_faults (gconstpointer options)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  guint refused = 0, step = strstr (options, "12") ? 1 : 3;

  if (!have_tools ())
    return;
  fs = make_fs (options, size_for (options), &disk);
  image_put (fs, "/stays", "as it was");
  image_put (fs, "/a file that goes", "goes");
  CHECK (fs->ops->flush (fs, &error));
  for (guint fail_at = 1; fail_at < 120; fail_at += step)
    {
      g_autoptr (H2kDisk) overlay = h2k_overlay_new (disk, NULL, 1 << 20);
      g_autoptr (H2kDisk) faulty = faulty_disk_new (overlay, fail_at);
      g_autoptr (H2kFs) broken = h2k_fs_open (faulty, NULL);
      g_autoptr (H2kFs) again = NULL;
      g_autofree char *output = NULL;
      g_autofree guint8 *data = g_malloc0 (20000);
      gboolean ok;

      if (!broken)
        continue;
      ok = broken->ops->create (broken, "/new directory", S_IFDIR | 0755, 0, 0, NULL, NULL)
           && broken->ops->create (broken, "/new directory/file", 0644, 0, 0, NULL, NULL)
           && broken->ops->write (broken, "/new directory/file", 5000, data, 20000, NULL)
           && broken->ops->truncate (broken, "/new directory/file", 3000, NULL)
           && broken->ops->remove (broken, "/a file that goes", NULL)
           && broken->ops->flush (broken, NULL);
      refused += !ok;
      again = image_open_fs (overlay, "fat");
      assert_text (again, "/stays", "as it was");
      image_save (overlay, "check");
      image_run (&output, "fsck.fat -n @/check");
      g_assert_null (strstr (output, "share"));
      g_assert_null (strstr (output, "Bad"));
      /* Longer than the file may be what is lost. */
      g_assert_false (g_regex_match_simple ("chain length is [0-9]", output, 0, 0));
      g_assert_null (strstr (output, "Contains a free cluster"));
      if (ok)
        break;
    }
  g_assert_cmpuint (refused, >, 20 / step);
}

/* --- renaming on a disk that fails ------------------------------------------------------------ */

#define GROWING 40u /* files that leave little room in the clusters of their directory */

static const struct
{
  const char *from, *to;
} renames[] = {
    {"/file", "/another and longer name of this file"},
    {"/file", "/directory/file"},
    {"/file",
     "/full/the name of a file that takes more slots than there are left in here, since it "
     "is so long that it needs a cluster or two of its own, or the most of one at least"},
    {"/file", "/directory/replaced"},
    {"/moved", "/directory/moved"},
    {"/moved", "/empty"},
};

static void
make_for_renames (H2kFs *fs)
{
  image_put (fs, "/file", "content");
  for (guint i = 0; i < 4; i++)
    {
      static const char *const dirs[] = {"/directory", "/full", "/moved", "/empty"};
      CHECK (fs->ops->create (fs, dirs[i], S_IFDIR | 0755, 0, 0, NULL, &error));
    }
  image_put (fs, "/directory/replaced", "something else");
  image_put (fs, "/moved/inside", "moves along");
  for (guint i = 0; i < GROWING; i++)
    {
      g_autofree char *path = g_strdup_printf ("/full/%u", i);
      image_put (fs, path, path);
    }
  CHECK (fs->ops->flush (fs, &error));
}

/* All paths in DIR and below, and what is in the files. */
static void
describe (H2kFs *fs, const char *dir, GString *text)
{
  g_autoptr (GPtrArray) names = fs->ops->list (fs, dir, NULL);

  g_assert_nonnull (names);
  for (guint i = 0; i < names->len; i++)
    {
      g_autofree char *path = join (dir, names->pdata[i]);
      H2kStat st;

      CHECK (fs->ops->lstat (fs, path, &st, &error));
      if (S_ISDIR (st.mode))
        describe (fs, path, text);
      else
        {
          g_autoptr (GBytes) bytes = fs->ops->read (fs, path, 0, G_MAXSIZE, NULL);
          g_assert_nonnull (bytes);
          g_string_append_printf (text, "%s: ", path);
          g_string_append_len (text, g_bytes_get_data (bytes, NULL),
                               (gssize)g_bytes_get_size (bytes));
          g_string_append_c (text, '\n');
        }
      g_string_append_printf (text, "%s\n", path);
    }
}

static char *
describe_disk (H2kDisk *disk)
{
  g_autoptr (H2kFs) fs = image_open_fs (disk, "fat");
  GString *text = g_string_new (NULL);

  describe (fs, "/", text);
  return g_string_free (text, FALSE);
}

/* Both hold the same, but for the mark that a volume is in use. */
static void
assert_same_bytes (H2kDisk *disk, H2kDisk *other)
{
  g_autofree guint8 *a = g_malloc (65536), *b = g_malloc (65536);
  H2kFatLayout layout;

  CHECK (h2k_fat_read_layout (disk, &layout, &error));
  for (guint64 at = 0; at < disk->size; at += 65536)
    {
      gsize n = (gsize)MIN (65536, disk->size - at);
      g_assert_true (h2k_disk_pread (disk, at, n, a, NULL));
      g_assert_true (h2k_disk_pread (other, at, n, b, NULL));
      if (at == 0)
        a[layout.state_at] = b[layout.state_at];
      g_assert_cmpmem (a, n, b, n);
    }
}

/* Rename on a copy of DISK whose write number N fails, with ONCE that one alone. Returns whether it
 * was made, and what there is then. */
static gboolean
rename_with_fault (H2kDisk *disk, gsize i, guint n, gboolean once, char **after)
{
  g_autoptr (H2kDisk) overlay = h2k_overlay_new (disk, NULL, 1 << 20);
  g_autoptr (H2kDisk) faulty = faulty_disk_new_for_writes (overlay, n, once);
  g_autoptr (H2kFs) fs = image_open_fs (faulty, "fat");
  gboolean ok = fs->ops->rename (fs, renames[i].from, renames[i].to, NULL);

  g_assert_cmpint (ok, ==, n == 0 || faulty_disk_requests (faulty) < n);
  if (once && !ok)
    {
      g_autofree char *seen = NULL;
      g_autoptr (GString) text = g_string_new (NULL);
      assert_same_bytes (overlay, disk);
      describe (fs, "/", text); /* by the one that failed as well */
      seen = describe_disk (disk);
      g_assert_cmpstr (text->str, ==, seen);
      /* It can be tried again. */
      CHECK (fs->ops->rename (fs, renames[i].from, renames[i].to, &error));
    }
  *after = describe_disk (overlay);
  return ok;
}

/* When a write fails, everything is as it was. When none can be made from then on, the file has its
 * old name, its new one or both. */
static void
test_rename_faults (gconstpointer options)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  g_autofree char *before = NULL;

  if (!have_tools ())
    return;
  fs = make_fs (options, size_for (options), &disk);
  make_for_renames (fs);
  before = describe_disk (disk);
  for (gsize i = 0; i < G_N_ELEMENTS (renames); i++)
    {
      g_autofree char *whole = NULL;
      gboolean made = rename_with_fault (disk, i, 0, FALSE, &whole);
      guint n = 0;

      g_assert_true (made);
      g_assert_cmpstr (before, !=, whole);
      for (gboolean ok = FALSE; !ok;)
        {
          g_autofree char *once = NULL, *ever = NULL;
          ok = rename_with_fault (disk, i, ++n, TRUE, &once);
          g_assert_cmpstr (once, ==, whole);
          rename_with_fault (disk, i, n, FALSE, &ever);
          g_assert_nonnull (
              strstr (ever, renames[i].from[1] == 'f' ? ": content\n" : "moves along"));
        }
      g_assert_cmpuint (n, >, 2);
    }
}

/* Random bytes in the boot sector, the tables and the directories. */
static void
test_damage (gconstpointer options)
{
  g_autoptr (H2kDisk) disk = NULL;
  g_autoptr (H2kFs) fs = NULL;
  g_autoptr (GRand) rand = g_rand_new_with_seed (17);
  guint opened = 0;

  if (!have_tools ())
    return;
  fs = make_fs (options, size_for (options), &disk);
  CHECK (fs->ops->create (fs, "/directory", S_IFDIR | 0755, 0, 0, NULL, &error));
  for (guint i = 0; i < 30; i++)
    {
      g_autofree char *path = g_strdup_printf ("/directory/a file of some length %u", i);
      image_put (fs, path, path);
    }
  CHECK (fs->ops->flush (fs, &error));
  for (guint i = 0; i < 200; i++)
    {
      g_autoptr (H2kDisk) overlay = h2k_overlay_new (disk, NULL, 1 << 20);
      g_autoptr (H2kFs) damaged = NULL;
      H2kFatLayout layout;

      CHECK (h2k_fat_read_layout (disk, &layout, &error));
      for (guint k = 0; k < 20; k++)
        {
          guint8 byte = (guint8)g_rand_int (rand);
          guint64 at = k % 3 == 0 ? (guint64)g_rand_int_range (rand, i % 4 ? 40 : 11, 512)
                       : k % 3 == 1
                           ? layout.table + (guint64)g_rand_int_range (rand, 0, 200)
                           : layout.data - 2048 + (guint64)g_rand_int_range (rand, 0, 9000);
          g_assert_true (h2k_disk_pwrite (overlay, at, 1, &byte, NULL));
        }
      damaged = h2k_fs_open (overlay, NULL);
      opened += damaged != NULL;
      for (guint k = 0; damaged && k < 30; k++)
        {
          g_autofree char *path = g_strdup_printf ("/directory/a file of some length %u", k);
          GBytes *bytes = damaged->ops->read (damaged, path, 0, 100, NULL);

          g_clear_pointer (&bytes, g_bytes_unref);
          damaged->ops->write (damaged, path, 300, "x", 1, NULL);
          damaged->ops->remove (damaged, path, NULL);
        }
      if (damaged)
        damaged->ops->flush (damaged, NULL);
    }
  g_assert_cmpuint (opened, >, 20);
}

int
main (int argc, char **argv)
{
  static const char *const kinds[] = {"-F 12", "-F 16 -s 1", "-F 32 -s 1"};
  int result;

  g_test_init (&argc, &argv, NULL);
  for (gsize i = 0; i < G_N_ELEMENTS (configs); i++)
    {
      g_autofree char *reading = g_strconcat ("/fat/reading/", configs[i].options, NULL);
      g_autofree char *random = g_strconcat ("/fat/random/", configs[i].options, NULL);
      g_test_add_data_func (reading, &configs[i], test_reading);
      g_test_add_data_func (random, &configs[i], test_random);
    }
  for (gsize i = 0; i < G_N_ELEMENTS (kinds); i++)
    {
      g_autofree char *full = g_strconcat ("/fat/full-disk/", kinds[i], NULL);
      g_autofree char *state = g_strconcat ("/fat/state/", kinds[i], NULL);
      g_autofree char *faults = g_strconcat ("/fat/faults/", kinds[i], NULL);
      g_autofree char *renaming = g_strconcat ("/fat/rename-faults/", kinds[i], NULL);
      g_autofree char *damage = g_strconcat ("/fat/damage/", kinds[i], NULL);
      g_test_add_data_func (full, kinds[i], test_full_disk);
      g_test_add_data_func (state, kinds[i], test_state);
      g_test_add_data_func (faults, kinds[i], test_faults);
      g_test_add_data_func (renaming, kinds[i], test_rename_faults);
      g_test_add_data_func (damage, kinds[i], test_damage);
    }
  g_test_add_data_func ("/fat/many-files/16", "-F 16 -s 1", test_many_files);
  g_test_add_data_func ("/fat/many-files/32", "-F 32 -s 1", test_many_files);
  g_test_add_data_func ("/fat/rename/16", "-F 16 -s 1", test_rename);
  g_test_add_data_func ("/fat/rename/32", "-F 32 -s 1", test_rename);
  g_test_add_func ("/fat/names", test_names);
  g_test_add_func ("/fat/surrogates", test_surrogates);
  g_test_add_func ("/fat/odd-entries", test_odd_entries);
  g_test_add_func ("/fat/long-names-damaged", test_long_names_damaged);
  g_test_add_func ("/fat/sizes", test_sizes);
  g_test_add_func ("/fat/short-names", test_short_names);
  g_test_add_func ("/fat/attributes", test_attributes);
  g_test_add_func ("/fat/errors", test_errors);
  g_test_add_func ("/fat/read-only", test_read_only);
  g_test_add_func ("/fat/little-is-written", test_little_is_written);
  g_test_add_func ("/fat/active-table", test_active_table);
  g_test_add_func ("/fat/chains", test_chains);
  result = g_test_run ();
  image_cleanup ();
  return result;
}
