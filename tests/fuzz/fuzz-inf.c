/* fuzz-inf.c - INF files: any bytes are survived, and what comes out is text, with paths that stay
 * in the package and registry data of the right sizes.
 *
 * The first byte chooses the release of Windows.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "drivers/inf.h"

int LLVMFuzzerTestOneInput (const guint8 *data, size_t size);

static const H2kWindowsRelease targets[] = {
    {5, 1, 2600, H2K_WINDOWS_CLIENT, H2K_WINDOWS_X86},
    {6, 1, 7601, H2K_WINDOWS_SERVER, H2K_WINDOWS_AMD64},
    {10, 0, 20348, H2K_WINDOWS_SERVER, H2K_WINDOWS_AMD64},
    {10, 0, 26100, H2K_WINDOWS_CLIENT, H2K_WINDOWS_ARM64},
};

static void
check_text (const char *text)
{
  g_assert_true (text && g_utf8_validate (text, -1, NULL));
}

static void
check_path (const char *path, gboolean may_be_empty)
{
  g_auto (GStrv) parts = g_strsplit_set (path, "/\\", -1);

  check_text (path);
  g_assert_true (*path || may_be_empty);
  for (char **part = parts; *part && *path; part++)
    g_assert_true (**part && strcmp (*part, ".") != 0 && strcmp (*part, "..") != 0);
}

static void
check_reg (const GPtrArray *list)
{
  for (guint i = 0; i < list->len; i++)
    {
      const H2kInfReg *reg = list->pdata[i];
      gsize size = reg->data ? g_bytes_get_size (reg->data) : 0;
      check_text (reg->key);
      check_text (reg->name);
      g_assert_true (reg->action != H2K_INF_REG_SET || reg->data);
      g_assert_true (reg->type != 4 || reg->action != H2K_INF_REG_SET || size == 4);
      g_assert_true ((reg->type != 1 && reg->type != 2 && reg->type != 7) || size % 2 == 0);
    }
}

static void
check_files (const GPtrArray *list)
{
  for (guint i = 0; i < list->len; i++)
    {
      const H2kInfFile *file = list->pdata[i];
      check_path (file->source, FALSE);
      check_path (file->target, FALSE);
      check_path (file->source_dir, TRUE);
      check_path (file->subdir, TRUE);
    }
}

static void
check_install (const H2kInfInstall *install)
{
  check_text (install->decorated);
  check_files (install->files);
  check_files (install->co_files);
  check_reg (install->reg);
  check_reg (install->hw_reg);
  check_reg (install->co_reg);
  for (guint i = 0; i < install->services->len; i++)
    {
      const H2kInfService *service = install->services->pdata[i];
      check_text (service->binary);
      check_text (service->display_name.text);
      g_assert_true (!service->name || (*service->name && !strchr (service->name, '\\')));
      g_assert_true (!service->event_log == !service->event_name);
      check_reg (service->reg);
      check_reg (service->event_reg);
    }
}

int
LLVMFuzzerTestOneInput (const guint8 *data, size_t size)
{
  g_autoptr (GError) error = NULL;
  g_autoptr (H2kInf) inf = NULL;

  if (size < 1)
    return 0;
  inf = h2k_inf_parse (data + 1, size - 1, "x.inf", &targets[data[0] % G_N_ELEMENTS (targets)],
                       &error);
  g_assert_true ((inf != NULL) != (error != NULL));
  if (error)
    {
      check_text (error->message);
      return 0;
    }
  g_assert_cmpuint (inf->devices->len, >, 0);
  for (guint i = 0; i < inf->devices->len; i++)
    {
      const H2kInfDevice *device = inf->devices->pdata[i];
      check_text (device->description.text);
      check_text (device->manufacturer.text);
      g_assert_nonnull (device->install);
      g_assert_cmpuint (device->n_hardware_ids, <=, g_strv_length (device->ids));
    }
  for (guint i = 0; i < inf->installs->len; i++)
    check_install (inf->installs->pdata[i]);
  for (guint i = 0; i < inf->files->len; i++)
    check_path (inf->files->pdata[i], FALSE);
  return 0;
}
