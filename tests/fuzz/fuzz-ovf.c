/* fuzz-ovf.c - the parsers of what describes a VM: any bytes are survived, and what comes out is
 * text, with file names that stay in the folder and MACs that are some.
 *
 * The first byte chooses the parser.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "source/source.h"

int LLVMFuzzerTestOneInput (const guint8 *data, size_t size);

static void
check_path (const char *path)
{
  g_auto (GStrv) parts = g_strsplit_set (path, "/\\", -1);

  g_assert_true (*path && *path != '/' && *path != '\\');
  for (char **part = parts; *part; part++)
    g_assert_true (strcmp (*part, "..") != 0);
}

static void
check_text (const char *text)
{
  g_assert_true (!text || g_utf8_validate (text, -1, NULL));
}

static void
check_vm (const H2kVm *vm, gboolean plain_paths)
{
  check_text (vm->os_hint);
  g_assert_nonnull (vm->name);
  check_text (vm->name);
  for (guint i = 0; i < vm->disks->len; i++)
    for (const H2kVmDisk *disk = vm->disks->pdata[i]; disk; disk = disk->parent)
      {
        check_text (disk->file);
        check_text (disk->id);
        check_text (disk->controller_type);
        g_assert_true (disk->capacity <= G_MAXINT64 && disk->file_size <= G_MAXINT64);
        g_assert_true (disk->chunked == (disk->chunk_size != 0));
        if (disk->file && plain_paths)
          check_path (disk->file);
      }
  for (guint i = 0; i < vm->nics->len; i++)
    {
      const H2kVmNic *nic = vm->nics->pdata[i];
      check_text (nic->network);
      check_text (nic->model);
      g_assert_true (!nic->mac || strlen (nic->mac) == 17);
    }
}

static void
parse_manifest (const char *text, gsize size, GError **error)
{
  g_autoptr (GPtrArray) entries = h2k_manifest_parse (text, size, "vm.mf", error);

  for (guint i = 0; entries && i < entries->len; i++)
    {
      const H2kManifestEntry *entry = entries->pdata[i];
      check_path (entry->file);
      g_assert_cmpuint (strlen (entry->digest), ==,
                        2 * (gsize)g_checksum_type_get_length (entry->algorithm));
    }
}

int
LLVMFuzzerTestOneInput (const guint8 *data, size_t size)
{
  g_autoptr (H2kVm) vm = NULL;
  g_autoptr (GError) error = NULL;
  const char *text = (const char *)data + 1;

  if (size == 0)
    return 0;
  if (data[0] % 3 == 0)
    vm = h2k_ovf_parse (text, size - 1, "vm.ovf", &error);
  else if (data[0] % 3 == 1)
    vm = h2k_vmx_parse (text, size - 1, "vm.vmx", &error);
  else
    parse_manifest (text, size - 1, &error);
  if (vm)
    check_vm (vm, data[0] % 3 == 0);
  g_assert_true (!vm || !error);
  if (error)
    check_text (error->message);
  return 0;
}
