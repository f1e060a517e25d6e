/* test-stall.c - a guest that hangs under KVM is started once more under emulation.
 *
 * KVM is said to work, and QEMU is a script that starts the real one stopped when asked for KVM:
 * a virtual CPU that never runs. The real h2k_boot_domain() is compiled in with that answer.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#define h2k_kvm_works fake_kvm_works
#include "boot/boot.c"
#undef h2k_kvm_works

#include <glib/gstdio.h>

gboolean
fake_kvm_works (const char **why)
{
  *why = NULL;
  return TRUE;
}

/* cli; then "x login: " to the serial port byte by byte; hlt for ever. */
static void
write_disk (const char *path)
{
  static const guint8 code[] = {0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0xbe, 0x20, 0x7c, 0xac, 0x84, 0xc0,
                                0x74, 0x06, 0xba, 0xf8, 0x03, 0xee, 0xeb, 0xf5, 0xf4, 0xeb, 0xfd};
  g_autofree guint8 *image = g_malloc0 (1 << 20);

  memcpy (image, code, sizeof code);
  memcpy (image + 0x20, "x login: ", 9);
  image[510] = 0x55;
  image[511] = 0xaa;
  g_assert_true (g_file_set_contents (path, (char *)image, 1 << 20, NULL));
}

static void
write_wrapper (const char *path, const char *qemu, const char *under_kvm)
{
  g_autofree char *script
      = g_strdup_printf ("#!/bin/sh\n"
                         "case \"$*\" in *'-accel kvm '*) ;; *) exec %s \"$@\";; "
                         "esac\n"
                         "for a do shift; [ \"$a\" = kvm ] && a=tcg; set -- "
                         "\"$@\" \"$a\"; done\n%s\n",
                         qemu, under_kvm);

  g_assert_true (g_file_set_contents (path, script, -1, NULL));
  g_assert_cmpint (g_chmod (path, 0755), ==, 0);
}

/* UNDER_KVM is what the wrapper does then; %s is the real QEMU. */
static void
run_case (const char *kvm_command, double least)
{
  g_autofree char *qemu = g_find_program_in_path ("qemu-system-x86_64");
  g_autofree char *dir = g_dir_make_tmp ("h2k-stall-XXXXXX", NULL);
  g_autofree char *disk = g_build_filename (dir, "disk.raw", NULL);
  g_autofree char *wrapper = g_build_filename (dir, "qemu-system-x86_64", NULL);
  g_autofree char *under_kvm = NULL, *search = NULL;
  g_autofree char *path = g_strdup (g_getenv ("PATH"));
  g_autoptr (H2kDomain) domain = h2k_domain_new ("stall");
  g_autoptr (H2kBootOptions) options = h2k_boot_options_new ();
  g_autoptr (H2kBootResult) result = NULL;
  g_autoptr (GTimer) timer = g_timer_new ();
  g_autoptr (GError) error = NULL;

  if (qemu == NULL)
    {
      g_test_skip ("qemu-system-x86_64 is not installed");
      g_rmdir (dir);
      return;
    }
  under_kvm = g_strdup_printf (kvm_command, qemu);
  write_wrapper (wrapper, qemu, under_kvm);
  write_disk (disk);
  domain->memory_mib = 64;
  domain->vcpus = 1;
  h2k_domain_add_disk (domain, disk, "raw", H2K_BUS_VIRTIO_BLK);
  options->evidence = H2K_EVIDENCE_LOGIN;
  options->temp_dir = g_strdup (dir);
  search = g_strconcat (dir, ":", path, NULL);
  g_setenv ("PATH", search, TRUE);
  if (!h2k_boot_domain (domain, options, NULL, &result, &error))
    g_error ("%s", error->message);
  g_setenv ("PATH", path, TRUE);
  g_assert_cmpstr (result->accel, ==, "tcg");
  g_assert_nonnull (strstr (result->accel_why, "under KVM"));
  g_assert_cmpfloat (g_timer_elapsed (timer, NULL), >=, least);
  g_unlink (wrapper);
  g_unlink (disk);
  /* Nothing else is in there. */
  g_assert_cmpint (g_rmdir (dir), ==, 0);
}

static void
test_hangs (void)
{
  run_case ("exec %s \"$@\" -S", 30);
}

static void
test_dies (void)
{
  run_case ("echo 'error: failed to set MSR 0x10a' >&2; exit 134 # %s", 0);
}

int
main (int argc, char **argv)
{
#if !defined __x86_64__
  return 77; /* the wrapper stands in for KVM on x86 */
#endif
  g_test_init (&argc, &argv, NULL);
  g_test_add_func ("/boot/stall/hangs", test_hangs);
  g_test_add_func ("/boot/stall/dies", test_dies);
  return g_test_run ();
}
