@echo off
rem 050-disks.cmd - disks that are offline, since their controller is a new one, come online.
rem
rem SPDX-License-Identifier: GPL-2.0-or-later
"%H2K_EXE%" --disks
exit %errorlevel%
