/* test-modules.c - depmod's text indexes, of today and of old kernels.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "repair/modules.h"

static GBytes *
text (const char *s)
{
  return g_bytes_new_static (s, strlen (s));
}

/* The closure of NAME, as words. */
static char *
closure (const H2kModules *modules, const char *name)
{
  g_autoptr (GHashTable) set = g_hash_table_new_full (g_str_hash, g_str_equal, g_free, NULL);
  g_autoptr (GPtrArray) names = NULL;

  h2k_modules_closure (modules, name, set);
  names = h2k_modules_sorted (set);
  g_ptr_array_add (names, NULL);
  return g_strjoinv (" ", (char **)names->pdata);
}

static void
test_names (void)
{
  static const struct
  {
    const char *path, *name;
  } cases[] = {
      {"kernel/drivers/block/virtio_blk.ko", "virtio_blk"},
      {"kernel/crypto/crct10dif-pclmul.ko.xz", "crct10dif_pclmul"},
      {"a.ko.zst", "a"},
      {"/lib/modules/2.6.18/kernel/b.ko.gz", "b"},
      {"kernel/.ko", NULL},
      {"kernel/c.ko.lz", NULL},
      {"modules.dep", NULL},
      {"", NULL},
  };

  for (guint i = 0; i < G_N_ELEMENTS (cases); i++)
    {
      g_autofree char *name = h2k_module_name (cases[i].path);
      g_assert_cmpstr (name, ==, cases[i].name);
    }
}

static void
test_closure (void)
{
  g_autoptr (GBytes) dep = text ("kernel/virtio_blk.ko.xz: kernel/virtio.ko.xz kernel/ring.ko.xz\n"
                                 "kernel/virtio.ko.xz: kernel/ring.ko.xz\n"
                                 "kernel/ring.ko.xz:\n"
                                 "kernel/sd_mod.ko.xz: kernel/crc-t10dif.ko.xz\n"
                                 "kernel/crc-t10dif.ko.xz:\n"
                                 "kernel/dif_generic.ko.xz:\n"
                                 "kernel/dif-fast.ko.xz: kernel/built.ko.xz");
  g_autoptr (GBytes) softdep = text ("# comment\n"
                                     "softdep crc_t10dif pre: crct10dif-any absent post: ring\n");
  g_autoptr (GBytes) alias = text ("alias pci:v00001AF4d*sv*sd*bc*sc*i* virtio_pci\n"
                                   "alias crct10dif_any dif_fast\n"
                                   "alias crct10dif_any dif_generic\n"
                                   "alias absent absent\n");
  g_autoptr (GBytes) builtin = text ("kernel/built.ko\nkernel/drivers/virtio-pci.ko\n");
  g_autoptr (H2kModules) modules = h2k_modules_new ("6.1", dep, softdep, alias, builtin);
  g_autofree char *blk = closure (modules, "virtio_blk");
  g_autofree char *sd = closure (modules, "sd_mod");
  g_autofree char *none = closure (modules, "absent");

  g_assert_cmpstr (blk, ==, "ring virtio virtio_blk");
  g_assert_cmpstr (sd, ==, "crc_t10dif dif_fast dif_generic sd_mod");
  g_assert_cmpstr (none, ==, "");
  g_assert_true (g_hash_table_contains (modules->builtin, "virtio_pci"));
  g_assert_cmpstr (g_hash_table_lookup (modules->paths, "dif_fast"), ==, "kernel/dif-fast.ko.xz");
}

static void
test_old_indexes (void)
{
  g_autoptr (GBytes) dep
      = text ("/lib/modules/2.6.18-8.el5/kernel/a.ko: /lib/modules/2.6.18-8.el5/kernel/b.ko\n"
              "/lib/modules/2.6.18-8.el5/kernel/b.ko:\n"
              "/elsewhere/c.ko:\n");
  g_autoptr (H2kModules) modules = h2k_modules_new ("2.6.18-8.el5", dep, NULL, NULL, NULL);
  g_autofree char *a = closure (modules, "a");

  g_assert_cmpstr (a, ==, "a b");
  g_assert_cmpstr (g_hash_table_lookup (modules->paths, "a"), ==, "kernel/a.ko");
  g_assert_false (g_hash_table_contains (modules->paths, "c"));
}

static void
test_hostile_indexes (void)
{
  g_autoptr (GBytes) dep = text ("../../etc/a.ko:\nkernel/../b.ko:\nkernel//c.ko:\n:\n\n"
                                 "kernel/loop1.ko: kernel/loop2.ko\n"
                                 "kernel/loop2.ko: kernel/loop1.ko kernel/nowhere.ko");
  g_autoptr (GBytes) softdep = text ("softdep\nsoftdep loop1\nsoftdep loop1 pre: loop1 loop2\n");
  g_autoptr (H2kModules) modules = h2k_modules_new ("6.1", dep, softdep, softdep, dep);
  g_autofree char *loop = closure (modules, "loop1");

  g_assert_cmpuint (g_hash_table_size (modules->paths), ==, 2);
  g_assert_cmpstr (loop, ==, "loop1 loop2");
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/modules/names of files", test_names);
  g_test_add_func ("/modules/a module comes with all it needs", test_closure);
  g_test_add_func ("/modules/absolute paths of old kernels", test_old_indexes);
  g_test_add_func ("/modules/hostile indexes end and stay inside", test_hostile_indexes);
  return g_test_run ();
}
