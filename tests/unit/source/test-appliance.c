/* test-appliance.c - the files of an OVF: compressed with gzip, split into chunks, or both, beside
 * the description and in an archive.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "source/appliance.h"

#include <glib/gstdio.h>

#define SIZE 700001
#define CHUNK 150000

typedef struct
{
  char *folder;
  guint8 *data; /* the disk's, SIZE bytes and zeros up to a sector's end */
} Fixture;

static void
set_up (Fixture *f, gconstpointer unused)
{
  g_autoptr (GRand) rand = g_rand_new_with_seed (4);

  f->folder = g_dir_make_tmp ("h2k-appliance-XXXXXX", NULL);
  f->data = g_malloc0 (SIZE + 512);
  for (gsize i = 0; i < SIZE; i++)
    f->data[i] = (guint8)(i % 5000 < 2500 ? g_rand_int (rand) : i / 7);
}

static char *
path_of (Fixture *f, const char *name)
{
  return g_build_filename (f->folder, name, NULL);
}

static void
tear_down (Fixture *f, gconstpointer unused)
{
  g_autoptr (GDir) dir = g_dir_open (f->folder, 0, NULL);
  const char *name;

  while ((name = g_dir_read_name (dir)))
    {
      g_autofree char *path = path_of (f, name);
      g_unlink (path);
    }
  g_rmdir (f->folder);
  g_free (f->folder);
  g_free (f->data);
}

static void
save (Fixture *f, const char *name, const void *data, gsize size)
{
  g_autofree char *path = path_of (f, name);

  g_assert_true (g_file_set_contents (path, data, (gssize)size, NULL));
}

static void
run (Fixture *f, const char *command)
{
  g_autofree char *line = g_strdup_printf ("cd %s && %s", f->folder, command);
  const char *argv[] = {"sh", "-c", line, NULL};
  int status = -1;

  g_assert_true (g_spawn_sync (NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH, NULL, NULL, NULL,
                               NULL, &status, NULL));
  g_assert_cmpint (status, ==, 0);
}

/* vm.ovf with one disk, its file "disk.img" with ATTRIBUTES. */
static void
describe (Fixture *f, const char *href, const char *attributes)
{
  g_autofree char *text = g_strdup_printf (
      "<Envelope xmlns='http://schemas.dmtf.org/ovf/envelope/1'"
      " xmlns:ovf='http://schemas.dmtf.org/ovf/envelope/1' xmlns:rasd='http://schemas.dmtf.org/"
      "wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData'>"
      "<References><File ovf:id='f' ovf:href='%s' %s/></References>"
      "<DiskSection><Disk ovf:diskId='d' ovf:fileRef='f' ovf:capacity='700416'/></DiskSection>"
      "<VirtualSystem ovf:id='vm'><VirtualHardwareSection><Item><rasd:HostResource>ovf:/disk/d"
      "</rasd:HostResource><rasd:InstanceID>1</rasd:InstanceID><rasd:ResourceType>17"
      "</rasd:ResourceType></Item></VirtualHardwareSection></VirtualSystem></Envelope>",
      href, attributes);

  save (f, "vm.ovf", text, strlen (text));
}

/* FILE cut into chunks of SIZE bytes, as the specification names them. */
static void
split (Fixture *f, const char *file, guint size)
{
  g_autofree char *command
      = g_strdup_printf ("split -b %u -a 9 -d %s %s. && rm %s", size, file, file, file);

  run (f, command);
}

static H2kAppliance *
open_vm (Fixture *f, const char *name, GError **error)
{
  g_autofree char *path = path_of (f, name);

  return h2k_appliance_open (path, name + strlen (name) - 3, error);
}

static void
expect_content (Fixture *f, const char *name)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kAppliance) a = open_vm (f, name, &error);
  g_autofree guint8 *got = g_malloc (SIZE + 512);
  H2kDisk *disk;

  g_assert_no_error (error);
  disk = a->disks->pdata[0];
  g_assert_cmpuint (disk->size, ==, (SIZE + 511) / 512 * 512);
  g_assert_true (h2k_disk_pread (disk, 0, (gsize)disk->size, got, &error));
  g_assert_cmpmem (got, disk->size, f->data, disk->size);
  g_assert_true (h2k_disk_pread (disk, 333333, 100000, got, &error));
  g_assert_cmpmem (got, 100000, f->data + 333333, 100000);
  g_assert_true (h2k_appliance_verify (a, NULL, &error));
  g_assert_no_error (error);
  g_assert_cmpuint (a->unchecked->len, ==, 0);
}

static void
expect_refusal (Fixture *f, H2kError code, const char *words)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kAppliance) a = open_vm (f, "vm.ovf", &error);

  g_assert_null (a);
  g_assert_error (error, H2K_ERROR, (int)code);
  if (!strstr (error->message, words))
    g_error ("\"%s\" is not in: %s", words, error->message);
}

/* Also with a manifest, which has the digests of the files as they are, and as an archive. */
static void
expect_everywhere (Fixture *f)
{
  expect_content (f, "vm.ovf");
  run (f, "tar cf vm.ova vm.ovf disk.*");
  expect_content (f, "vm.ova");
  run (f, "for i in vm.ovf disk.*; do echo \"SHA256($i)= $(sha256sum <$i | cut -d' ' -f1)\"; done "
          ">vm.mf && tar cf vm.ova vm.ovf vm.mf disk.*");
  expect_content (f, "vm.ovf");
  expect_content (f, "vm.ova");
}

static void
test_gzip (Fixture *f, gconstpointer unused)
{
  g_autofree guint8 *packed = NULL;
  g_autofree char *path = path_of (f, "disk.img.gz");
  gsize size;

  save (f, "disk.img", f->data, SIZE);
  run (f, "gzip -n disk.img");
  describe (f, "disk.img.gz", "ovf:compression='gzip'");
  expect_everywhere (f);

  run (f, "rm vm.mf");
  g_assert_true (g_file_get_contents (path, (char **)&packed, &size, NULL));
  packed[size / 2] ^= 16;
  save (f, "disk.img.gz", packed, size);
  expect_refusal (f, H2K_ERROR_FORMAT, "disk.img.gz");
  save (f, "disk.img.gz", packed, size / 3);
  expect_refusal (f, H2K_ERROR_FORMAT, "disk.img.gz");
  save (f, "disk.img.gz", f->data, 5000);
  expect_refusal (f, H2K_ERROR_FORMAT, "cannot be unpacked");
}

static void
test_chunks (Fixture *f, gconstpointer unused)
{
  save (f, "disk.img", f->data, SIZE);
  split (f, "disk.img", CHUNK);
  describe (f, "disk.img", "ovf:size='700001' ovf:chunkSize='150000'");
  expect_everywhere (f);
  describe (f, "disk.img", "ovf:chunkSize='150000'");
  run (f, "rm vm.mf");
  expect_everywhere (f);
  run (f, "rm vm.mf");

  describe (f, "disk.img", "ovf:size='700001' ovf:chunkSize='150000'");
  run (f, "mv disk.img.000000002 kept");
  expect_refusal (f, H2K_ERROR_SOURCE, "disk.img.000000002");
  run (f, "head -c 149999 kept >disk.img.000000002");
  expect_refusal (f, H2K_ERROR_FORMAT, "disk.img.000000002 has 149999 bytes");
  run (f, "(cat kept; echo) >disk.img.000000002");
  expect_refusal (f, H2K_ERROR_FORMAT, "disk.img.000000002 has 150001 bytes");
  describe (f, "disk.img", "ovf:chunkSize='150000'");
  run (f, "head -c 149999 kept >disk.img.000000002");
  expect_refusal (f, H2K_ERROR_FORMAT, "is shorter than a chunk");
}

static void
test_both (Fixture *f, gconstpointer unused)
{
  save (f, "disk.img", f->data, SIZE);
  run (f, "gzip -n disk.img && mv disk.img.gz disk.img");
  split (f, "disk.img", 100000);
  describe (f, "disk.img", "ovf:chunkSize='100000' ovf:compression='gzip'");
  expect_everywhere (f);
}

int
main (int argc, char **argv)
{
  g_test_init (&argc, &argv, NULL);
  g_test_add ("/appliance/gzip", Fixture, NULL, set_up, test_gzip, tear_down);
  g_test_add ("/appliance/chunks", Fixture, NULL, set_up, test_chunks, tear_down);
  g_test_add ("/appliance/chunks-of-gzip", Fixture, NULL, set_up, test_both, tear_down);
  return g_test_run ();
}
