/* local.c - hyper2kvm local: migrate a VM whose disks are files or devices of this machine.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "cmd/cmd.h"

#include <stdio.h>

/* Each has a form with "no-": naming some repairs runs those alone, --no-X leaves one out. */
static const struct
{
  const char *name;
  H2kRepairSet set;
  const char *help;
} repair_flags[] = {
    {"fix-fstab", H2K_REPAIR_FSTAB, "fstab and crypttab name filesystems by UUID"},
    {"fix-bootloader", H2K_REPAIR_BOOTLOADER,
     "GRUB names filesystems by UUID; Windows' boot configuration is whole"},
    {"use-uuid", H2K_REPAIR_FSTAB | H2K_REPAIR_BOOTLOADER, "both of these"},
    {"add-virtio-modules", H2K_REPAIR_INITRAMFS, "every initramfs gets the virtio drivers"},
    {"fix-network", H2K_REPAIR_NETWORK, "interfaces keep their names and addresses"},
    {"clean-udev-rules", H2K_REPAIR_UDEV, "stale persistent-net rules are removed"},
    {"disable-tools", H2K_REPAIR_TOOLS, "the old hypervisor's tools and drivers are disabled"},
    {"inject-virtio", H2K_REPAIR_VIRTIO, "Windows gets VirtIO drivers"},
    {"first-boot-service", H2K_REPAIR_FIRSTBOOT, "Windows ends the work at its first boot"},
};

#define UNSET G_MININT
#define N_REPAIRS G_N_ELEMENTS (repair_flags)

typedef struct
{
  GStrv vmdks, vhds, vhdxs, vdis, disks, macs, keys;
  char *ova, *ovf, *vmx, *out_format;
  gboolean no_compress, no_test, qemu_test, headless, window, no_inspection, no_sparsify, json;
  gboolean skip_fsck, windows, two_phase, no_two_phase;
  int threads, timeout, memory, vcpus;
  gboolean wanted[N_REPAIRS], unwanted[N_REPAIRS];
  char *no_names[N_REPAIRS]; /* "no-fix-fstab": of the options, which live as long */
} Flags;

static void
flags_clear (Flags *flags)
{
  for (guint i = 0; i < N_REPAIRS; i++)
    g_free (flags->no_names[i]);
  g_strfreev (flags->vmdks);
  g_strfreev (flags->vhds);
  g_free (flags->ova);
  g_free (flags->ovf);
  g_free (flags->vmx);
  g_free (flags->out_format);
  g_strfreev (flags->vhdxs);
  g_strfreev (flags->vdis);
  g_strfreev (flags->disks);
  g_strfreev (flags->macs);
  g_strfreev (flags->keys);
}

G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC (Flags, flags_clear)

/* The flags of the repairs, and what those of a Windows can be given. */
static GOptionEntry *
repair_entries (Flags *flags)
{
  guint n = 0;
  GOptionEntry *entries;

  while (cmd_windows_entries[n].long_name)
    n++;
  entries = g_new0 (GOptionEntry, 2 * N_REPAIRS + n + 1);
  memcpy (entries + 2 * N_REPAIRS, cmd_windows_entries, n * sizeof *entries);

  for (guint i = 0; i < N_REPAIRS; i++)
    {
      entries[2 * i]
          = (GOptionEntry){repair_flags[i].name, 0,   0, G_OPTION_ARG_NONE, &flags->wanted[i],
                           repair_flags[i].help, NULL};
      flags->no_names[i] = g_strconcat ("no-", repair_flags[i].name, NULL);
      entries[2 * i + 1] = (GOptionEntry){flags->no_names[i],
                                          0,
                                          G_OPTION_FLAG_HIDDEN,
                                          G_OPTION_ARG_NONE,
                                          &flags->unwanted[i],
                                          NULL,
                                          NULL};
    }
  return entries;
}

static H2kRepairSet
choose_repairs (const Flags *flags)
{
  H2kRepairSet set = 0;

  for (guint i = 0; i < N_REPAIRS; i++)
    if (flags->wanted[i])
      set |= repair_flags[i].set;
  if (set == 0)
    set = H2K_REPAIR_AUTO;
  for (guint i = 0; i < N_REPAIRS; i++)
    if (flags->unwanted[i])
      set &= ~repair_flags[i].set;
  return set;
}

/* --ova, --ovf or --vmx; -1 with *FOUND when one is given. */
static int
set_appliance (H2kMigrateOptions *options, const Flags *flags, int argc, gboolean *found)
{
  const struct
  {
    const char *file, *kind;
  } kinds[] = {{flags->ova, "ova"}, {flags->ovf, "ovf"}, {flags->vmx, "vmx"}};
  guint count = flags->vmdks || flags->vhds || flags->vhdxs || flags->vdis || flags->disks;

  for (guint i = 0; i < G_N_ELEMENTS (kinds); i++)
    if (kinds[i].file && ++count)
      {
        g_free (options->appliance);
        g_free (options->appliance_kind);
        options->appliance = g_strdup (kinds[i].file);
        options->appliance_kind = g_strdup (kinds[i].kind);
      }
  *found = options->appliance != NULL;
  if (*found && (count > 1 || argc > 1))
    return cmd_usage ("local", "--ova, --ovf and --vmx stand alone: the disks are those that the "
                               "description names");
  return -1;
}

/* The sources in their order: an option may be repeated, operands are further disks. */
static int
set_sources (H2kMigrateOptions *options, const Flags *flags, int argc, char **argv)
{
  const struct
  {
    char **files;
    const char *format; /* NULL: found by content */
  } kinds[] = {
      {flags->vmdks, "vmdk"}, {flags->vhds, "vhd"}, {flags->vhdxs, "vhdx"},
      {flags->vdis, "vdi"},   {flags->disks, NULL},
  };
  char **files = NULL;
  gboolean found;
  int code = set_appliance (options, flags, argc, &found);

  if (code >= 0 || found)
    return code;
  for (guint i = 0; i < G_N_ELEMENTS (kinds); i++)
    if (kinds[i].files && files)
      return cmd_usage ("local", "--vmdk, --vhd, --vhdx, --vdi and --disk exclude each other: "
                                 "--disk takes every format");
    else if (kinds[i].files)
      {
        files = kinds[i].files;
        options->source_format = g_strdup (kinds[i].format);
      }
  if (!files)
    return cmd_usage ("local", "no source is named: give --vmdk FILE or --disk FILE");
  for (; *files; files++)
    g_ptr_array_add (options->sources, g_strdup (*files));
  for (int i = 1; i < argc; i++)
    g_ptr_array_add (options->sources, g_strdup (argv[i]));
  return -1;
}

static int
set_windows (H2kMigrateOptions *options, const Flags *flags)
{
  if (flags->two_phase && flags->no_two_phase)
    return cmd_usage ("local", "--two-phase-boot and --no-two-phase-boot exclude each other");
  options->two_phase_boot = !flags->no_two_phase;
  cmd_take_windows (&options->virtio_win, &options->virtio_config, &options->guest_agent,
                    options->first_boot, &options->force_dirty);
  return -1;
}

static int
fill_options (H2kMigrateOptions *options, Flags *flags, int argc, char **argv)
{
  int code = set_sources (options, flags, argc, argv);

  cmd_take_text (&options->output_format, g_steal_pointer (&flags->out_format));
  if (!flags->no_compress)
    options->compression = cmd_compression ();
  if (code < 0)
    code = set_windows (options, flags);
  if (code >= 0)
    return code;
  if (flags->threads < 0 || flags->timeout < 0)
    return cmd_usage ("local", "numbers must not be negative");
  if (flags->memory < 1 && flags->memory != UNSET)
    return cmd_usage ("local", "--memory=%d: give 1 MiB or more", flags->memory);
  if (flags->vcpus < 1 && flags->vcpus != UNSET)
    return cmd_usage ("local", "--vcpus=%d: give 1 CPU or more", flags->vcpus);
  if (flags->headless && flags->window)
    return cmd_usage ("local", "--headless and --window exclude each other");
  options->inspect = !flags->no_inspection;
  options->repairs = options->inspect ? choose_repairs (flags) : 0;
  for (guint i = 0; i < N_REPAIRS && flags->no_inspection; i++)
    if (flags->wanted[i])
      return cmd_usage ("local", "--%s needs the inspection: leave out --no-guest-inspection",
                        repair_flags[i].name);
  options->sparsify = !flags->no_sparsify;
  options->check_filesystems = !flags->skip_fsck;
  options->threads = (guint)flags->threads;
  options->rate_limit = cmd_rate_limit ();
  options->boot_timeout = (guint)flags->timeout;
  options->headless = !flags->window;
  options->boot_test
      = flags->qemu_test && !flags->no_test ? H2K_BOOT_TEST_QEMU : H2K_BOOT_TEST_NONE;
  if (flags->memory != UNSET)
    options->memory_mib = (guint)flags->memory;
  if (flags->vcpus != UNSET)
    options->vcpus = (guint)flags->vcpus;
  for (guint i = 0; flags->macs && flags->macs[i]; i++)
    g_ptr_array_add (options->macs, g_strdup (flags->macs[i]));
  for (guint i = 0; flags->keys && flags->keys[i]; i++)
    g_ptr_array_add (options->keys, g_strdup (flags->keys[i]));
  options->backend = cmd_backend ();
  options->bus = cmd_bus ();
  options->progress = cmd_progress;
  return -1;
}

/* What standard output gets: the whole report as JSON, the plan of a dry run, or what to do now. */
static void
print_result (const H2kMigrateOptions *options, const H2kReport *report, gboolean json)
{
  g_autofree char *text = NULL;

  if (json || options->dry_run)
    {
      text = h2k_report_render (report, json ? "json" : "md");
      fputs (text, stdout);
      return;
    }
  printf ("%s is ready", options->output);
  if (options->report)
    printf ("; the report is %s", options->report);
  putchar ('\n');
}

int
cmd_local (int argc, char **argv)
{
  g_autoptr (H2kMigrateOptions) options = h2k_migrate_options_new ();
  g_auto (Flags) flags = {.memory = UNSET, .vcpus = UNSET};
  const GOptionEntry entries[] = {
      {"vmdk", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &flags.vmdks,
       "a VMware disk (its descriptor); repeat it for further disks", "FILE"},
      {"vhd", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &flags.vhds,
       "a VHD (Hyper-V, Virtual PC, Azure); may be repeated", "FILE"},
      {"vhdx", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &flags.vhdxs, "a VHDX (Hyper-V); may be repeated",
       "FILE"},
      {"vdi", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &flags.vdis, "a VDI (VirtualBox); may be repeated",
       "FILE"},
      {"ova", 0, 0, G_OPTION_ARG_FILENAME, &flags.ova,
       "an exported VM in one archive, read in place", "FILE"},
      {"ovf", 0, 0, G_OPTION_ARG_FILENAME, &flags.ovf, "an exported VM's description", "FILE"},
      {"vmx", 0, 0, G_OPTION_ARG_FILENAME, &flags.vmx, "a VMware VM's configuration", "FILE"},
      {"disk", 0, 0, G_OPTION_ARG_FILENAME_ARRAY, &flags.disks,
       "a disk of any known format (found by content), a file or a URI; may be repeated", "FILE"},
      {"to-output", 'o', 0, G_OPTION_ARG_FILENAME, &options->output,
       "where the first disk goes; further ones get -disk2, -disk3…", "FILE"},
      {"out-format", 0, 0, G_OPTION_ARG_STRING, &flags.out_format, "qcow2 (default) or raw", "FMT"},
      {"report", 0, 0, G_OPTION_ARG_FILENAME, &options->report,
       "write a report: .md, .json or .html", "FILE"},
      {"dry-run", 'n', 0, G_OPTION_ARG_NONE, &options->dry_run,
       "print every change that would be made, write nothing", NULL},
      {"force", 0, 0, G_OPTION_ARG_NONE, &options->force, "replace existing outputs", NULL},
      {"name", 0, 0, G_OPTION_ARG_STRING, &options->name, "the VM's name (default: the output's)",
       "NAME"},
      {"compress", 0, G_OPTION_FLAG_OPTIONAL_ARG, G_OPTION_ARG_CALLBACK, cmd_parse_compress,
       "compress the qcow2 with zlib (default) or zstd", "HOW"},
      {"no-compress", 0, 0, G_OPTION_ARG_NONE, &flags.no_compress, "do not compress (default)",
       NULL},
      {"verify", 0, 0, G_OPTION_ARG_NONE, &options->verify,
       "read the output back and compare every used block", NULL},
      {"resume", 0, 0, G_OPTION_ARG_NONE, &options->resume,
       "take up an interrupted run; keep what is copied if this one is interrupted", NULL},
      {"checksum", 0, 0, G_OPTION_ARG_NONE, &options->checksum,
       "write SHA-256 digests beside the output (.sha256)", NULL},
      {"bwlimit", 0, 0, G_OPTION_ARG_CALLBACK, cmd_parse_bwlimit,
       "read at most so many KiB a second (or with K, M, G behind it)", "RATE"},
      {"io-priority", 0, 0, G_OPTION_ARG_CALLBACK, cmd_parse_io_priority,
       "idle, best-effort or best-effort:0 to 7, as ionice", "CLASS"},
      {"drop-swap", 0, 0, G_OPTION_ARG_NONE, &options->drop_swap,
       "leave out the contents of swap and hibernation files", NULL},
      {"fast", 0, 0, G_OPTION_ARG_NONE, &options->fast,
       "do not wait until the output is on stable storage", NULL},
      {"flatten", 0, 0, G_OPTION_ARG_NONE, &options->flatten,
       "merge a chain of images into one disk, without a note (always done)", NULL},
      {"no-sparsify", 0, 0, G_OPTION_ARG_NONE, &flags.no_sparsify,
       "also copy blocks that no filesystem uses", NULL},
      {"threads", 0, 0, G_OPTION_ARG_INT, &flags.threads, "1 to 64 (default: one a CPU)", "N"},
      {"temp-dir", 0, 0, G_OPTION_ARG_FILENAME, &options->temp_dir,
       "for what does not fit in memory (default: $TMPDIR or /var/tmp)", "DIR"},
      {"no-guest-inspection", 0, 0, G_OPTION_ARG_NONE, &flags.no_inspection,
       "copy the disks without looking inside: no repairs", NULL},
      {"windows", 0, 0, G_OPTION_ARG_NONE, &options->require_windows,
       "the guest is a Windows; another system is an error", NULL},
      {"two-phase-boot", 0, 0, G_OPTION_ARG_NONE, &flags.two_phase,
       "Windows: define a first boot from SATA with VirtIO beside it, too (default)", NULL},
      {"no-two-phase-boot", 0, G_OPTION_FLAG_HIDDEN, G_OPTION_ARG_NONE, &flags.no_two_phase, NULL,
       NULL},
      {"skip-fsck", 0, 0, G_OPTION_ARG_NONE, &flags.skip_fsck,
       "do not check the guest's filesystems before and after the repairs", NULL},
      {"qemu-test", 0, 0, G_OPTION_ARG_NONE, &flags.qemu_test,
       "boot a throw-away overlay of the result and wait for proof", NULL},
      {"no-test", 0, 0, G_OPTION_ARG_NONE, &flags.no_test, "no boot test (default)", NULL},
      {"headless", 0, 0, G_OPTION_ARG_NONE, &flags.headless, "boot test without display (default)",
       NULL},
      {"window", 0, 0, G_OPTION_ARG_NONE, &flags.window, "boot test with a window", NULL},
      {"boot-timeout", 0, 0, G_OPTION_ARG_INT, &flags.timeout,
       "seconds (default: 300 under KVM, 900 under emulation)", "S"},
      {"new-identity", 0, 0, G_OPTION_ARG_NONE, &options->new_identity,
       "new ids and SSH host keys, to run beside the original", NULL},
      {"hostname", 0, 0, G_OPTION_ARG_STRING, &options->hostname,
       "the guest's name (default: it stays)", "HOST"},
      {"mac", 0, 0, G_OPTION_ARG_STRING_ARRAY, &flags.macs,
       "MAC of a NIC, in the guest's order; may be repeated", "MAC"},
      {"key", 0, 0, G_OPTION_ARG_STRING_ARRAY, &flags.keys,
       "a LUKS container's key, DEV:env:NAME also; may be repeated", "DEV:file:F"},
      {"backend", 0, 0, G_OPTION_ARG_CALLBACK, cmd_parse_backend,
       "what reads and changes the guest's files: auto (default), native or guestfs", "WHICH"},
      {"memory", 0, 0, G_OPTION_ARG_INT, &flags.memory,
       "the VM's memory in MiB (default: as described, else 2048)", "MIB"},
      {"vcpus", 0, 0, G_OPTION_ARG_INT, &flags.vcpus,
       "the VM's CPUs (default: as described, else 2)", "N"},
      {"json", 0, 0, G_OPTION_ARG_NONE, &flags.json, "print the report as JSON on standard output",
       NULL},
      {NULL},
  };
  g_autofree GOptionEntry *repairs = repair_entries (&flags);
  g_autoptr (H2kReport) report = NULL;
  g_autoptr (GError) error = NULL;
  int code
      = cmd_parse (&argc, &argv, "[FILE…]",
                   "Migrates one VM: repairs its guest in an overlay, writes the converted disk "
                   "once, with the\nlibvirt definition beside it. The source is never written. "
                   "Every repair that the guest needs\nis made, unless some are named; --no-X "
                   "leaves one out.",
                   entries, repairs, &flags);
  gboolean ok;

  if (code < 0)
    code = fill_options (options, &flags, argc, argv);
  if (code >= 0)
    return code;
  ok = h2k_migrate_vm (options, cmd_cancellable (), &report, &error);
  cmd_progress_finish ();
  if (report && (ok || flags.json))
    print_result (options, report, flags.json);
  return ok ? EXIT_OK : cmd_fail (error);
}
