/* options.c - what a migration is asked to do, with its defaults.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "migrate/migrate.h"

H2kMigrateOptions *
h2k_migrate_options_new (void)
{
  H2kMigrateOptions *options = g_new0 (H2kMigrateOptions, 1);

  options->sources = g_ptr_array_new_with_free_func (g_free);
  options->macs = g_ptr_array_new_with_free_func (g_free);
  options->keys = g_ptr_array_new_with_free_func (g_free);
  options->first_boot = g_ptr_array_new_with_free_func (g_free);
  options->output_format = g_strdup ("qcow2");
  options->repairs = H2K_REPAIR_AUTO;
  options->inspect = TRUE;
  options->sparsify = TRUE;
  options->check_filesystems = TRUE;
  options->headless = TRUE;
  options->two_phase_boot = TRUE;
  return options;
}

void
h2k_migrate_options_free (H2kMigrateOptions *options)
{
  if (!options)
    return;
  g_ptr_array_unref (options->sources);
  g_ptr_array_unref (options->macs);
  g_ptr_array_unref (options->keys);
  g_ptr_array_unref (options->first_boot);
  g_free (options->virtio_win);
  g_free (options->virtio_config);
  g_free (options->guest_agent);
  g_free (options->source_format);
  g_free (options->appliance);
  g_free (options->appliance_kind);
  g_free (options->output);
  g_free (options->output_format);
  g_free (options->name);
  g_free (options->hostname);
  g_free (options->temp_dir);
  g_free (options->report);
  g_free (options);
}
