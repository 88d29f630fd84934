/* Epochs, fence, containment, reinstatement. One identity, one issuer.
 C1 = case that fences epoch 1 (delivered twice = 2 procs), R = reinstatement 1->2 (resumed after crash, delivered twice), C2 = case on epoch 2 (flag C2), Reg = a lease of epoch 2.
 flags: PEREPOCH lever is one object per epoch (dated/named deny); default: one lever per identity (NOLOGIN)
        LEVEL  (fix) contain/restore compute the wished state from META, apply, read META again, repeat until unchanged
        FENCENOW fence write takes the epoch current at (re)delivery, not the one stored in the case
        BLINDBUMP resumed reinstatement bumps without condition
        NOFILTER  the worker of C1 does not compare the lease's epoch with the case's
   Code: functions/store/units.ts (openUnit), store/identities.ts (fenceIdentity), store/reinstatements.ts, revoke/contain.ts.
   Runs:
     holds slow -DLEVEL
     holds slow -DPEREPOCH
     breaks
     breaks -DPEREPOCH -DNOFILTER
     breaks -DPEREPOCH -DFENCENOW
     breaks -DLEVEL -DC2 -DBLINDBUMP
*/
#ifndef CR
#define CR 1
#endif
byte crashes=CR;
byte E=1; byte F; bit deny[4]; byte cep[3]; byte lep; bit lalive; bit lack; bit rdone; bit c1fenced; bit c2; bit c2started; bit reqR; bit cutbyold;
#define CRASH if :: crashes>0 -> crashes--; printf("   crash\n"); goto dead :: true fi
#ifdef PEREPOCH
#define LV(e) deny[e]
#else
#define LV(e) deny[0]
#endif
proctype Cont(byte c) { byte e; byte w,w2;   /* plan, fence, contain, cut of case c */
again:
 atomic { if :: cep[c]==0 -> cep[c]=E :: else fi; e=cep[c]; CRASH }
#ifdef FENCENOW
 atomic { e=E; if :: F<E -> F=E; printf("C%d fences through %d\n",c,E) :: else fi; if :: c==1 -> c1fenced=1 :: else -> c2=1 fi; CRASH }
#else
 atomic { if :: F<e -> F=e; printf("C%d fences through %d\n",c,e) :: else fi; if :: c==1 -> c1fenced=1 :: else -> c2=1 fi; CRASH }
#endif
#ifdef LEVEL
 w2=9;
 do
 :: atomic { w=(E<=F); CRASH };
    if :: w==w2 -> break :: else fi;
    atomic { deny[0]=w; printf("C%d lever:=%d\n",c,w); CRASH }; w2=w
 od;
#else
 atomic { w=(E==e); CRASH };   /* carries the epoch: only while it is still the identity's epoch */
 if :: w -> atomic { LV(e)=1; printf("C%d contains epoch %d\n",c,e); CRASH } :: else fi;
#endif
 /* worker of this case meets the lease */
 atomic { 
#ifdef NOFILTER
   if :: lep!=0 ->
#else
   if :: lep!=0 && lep<=e ->
#endif
     lalive=0; printf("C%d cuts the lease of epoch %d\n",c,lep); if :: lep>F || (c==1 && lep==2) -> cutbyold=1 :: else fi :: else fi; CRASH };
 goto fin;
dead: goto again;
fin: e=0;w=0;w2=0
}
proctype Reinst() { byte w,w2; bit first=1;
 c1fenced;
again:
#ifdef BLINDBUMP
 atomic { E=E+1; printf("R epoch %d\n",E); CRASH };
#else
 atomic { if :: E==1 && F>=1 -> E=2; printf("R epoch 2\n") :: else fi; CRASH };
#endif
#ifdef LEVEL
 w2=9;
 do
 :: atomic { w=(E<=F); CRASH };
    if :: w==w2 -> break :: else fi;
    atomic { deny[0]=w; printf("R lever:=%d\n",w); CRASH }; w2=w
 od;
#else
 atomic { w=(E==2 && F<2); CRASH };   /* checks that its epoch is still the current, unfenced one */
 if :: w -> atomic { LV(1)=0; printf("R restores\n"); CRASH } :: else fi;
#endif
 rdone=1; goto fin;
dead: goto again;
fin: w=0;w2=0
}
proctype Reg() { byte e;
 E==2;
 atomic { e=E };
 atomic { lep=e; lalive=1 };
 atomic { if :: e>F -> lack=1; printf("lease of epoch %d acknowledged\n",e) :: else -> lalive=0 /* late: amended, see M1 */ fi }
}
init { atomic { run Cont(1); run Reinst(); run Reg();
#ifdef DUPC
 run Cont(1);
#endif
#ifdef DUPR
 run Reinst();
#endif
 }
#ifdef C2
 E==2; run Cont(2);
#endif
 timeout;
 printf("end E %d F %d deny %d%d%d lease ep %d alive %d\n",E,F,deny[0],deny[1],deny[2],lep,lalive);
 assert(!cutbyold);
#ifdef C2
 assert(F==2 && E==2 && LV(2) && !lalive);
#else
 assert(E==2 && F==1 && !LV(2) && lalive);
#endif
}
